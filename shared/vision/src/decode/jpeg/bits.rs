//! The bits of entropy-coded data, up to the next marker.

use super::Flaw;

/// Takes bits from the front. Stuffed zeros are dropped; a marker ends the data.
pub struct Bits<'a> {
    rest: &'a [u8],
    /// Bits that are read from `rest` already, at the top.
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            held: 0,
            count: 0,
        }
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match *self.rest {
                [0xFF, 0, ref rest @ ..] => {
                    self.rest = rest;
                    0xFF
                }
                [] | [0xFF, ..] => return,
                [byte, ref rest @ ..] => {
                    self.rest = rest;
                    byte
                }
            };
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next 16 bits, zeros where the data ends.
    pub fn peek16(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        (self.held >> 48) as u32
    }

    /// Makes sure that there are so many bits, 16 at most.
    pub fn need(&mut self, bits: u32) -> Result<(), Flaw> {
        if self.count < bits {
            self.fill();
            if self.count < bits {
                return Err(self.early_end());
            }
        }
        Ok(())
    }

    pub fn skip(&mut self, bits: u32) -> Result<(), Flaw> {
        self.need(bits)?;
        self.held <<= bits;
        self.count -= bits;
        Ok(())
    }

    /// Takes up to 16 bits.
    pub fn take(&mut self, bits: u32) -> Result<u32, Flaw> {
        if bits == 0 {
            return Ok(0);
        }
        self.need(bits)?;
        let taken = (self.held >> (64 - bits)) as u32;
        self.held <<= bits;
        self.count -= bits;
        Ok(taken)
    }

    fn early_end(&self) -> Flaw {
        // A lone 0xFF is half a marker or half a stuffed byte.
        match self.rest {
            [] | [0xFF] => Flaw::Truncated("the data ends before the picture's last block"),
            _ => Flaw::Damaged("a marker comes before the picture's last block"),
        }
    }

    /// Ends the data: what is left of the last byte is padding. Returns how many
    /// whole bytes lie unread before the next marker, and what begins with it.
    pub fn end(mut self) -> (usize, &'a [u8]) {
        let mut unread = self.count as usize / 8;
        loop {
            self.count = 0;
            self.held = 0;
            self.fill();
            if self.count == 0 {
                return (unread, self.rest);
            }
            unread += self.count as usize / 8;
        }
    }
}
