//! The bits of entropy-coded data, up to the next marker.

use super::flaw::Flaw;

/// Reads bits from the front of entropy-coded data. It drops stuffed zero bytes, and a
/// marker ends the data.
pub struct Bits<'a> {
    rest: &'a [u8],
    /// The bits that were taken from `rest` and not yet read, the next one in the highest bit.
    buffer: u64,
    /// The number of bits in `buffer`.
    count: u32,
}

impl<'a> Bits<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            buffer: 0,
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
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next 16 bits, filled up with zeros where the data ends. They stay unread.
    pub fn peek16(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        (self.buffer >> 48) as u32
    }

    /// Fails if there are fewer than so many bits, which are at most 16.
    pub fn need(&mut self, bits: u32) -> Result<(), Flaw> {
        if self.count < bits {
            self.fill();
            if self.count < bits {
                return Err(self.early_end());
            }
        }
        Ok(())
    }

    /// Skips up to 16 bits.
    pub fn skip(&mut self, bits: u32) -> Result<(), Flaw> {
        self.need(bits)?;
        self.buffer <<= bits;
        self.count -= bits;
        Ok(())
    }

    /// Reads up to 16 bits as a number.
    pub fn take(&mut self, bits: u32) -> Result<u32, Flaw> {
        if bits == 0 {
            return Ok(0);
        }
        self.need(bits)?;
        let taken = (self.buffer >> (64 - bits)) as u32;
        self.buffer <<= bits;
        self.count -= bits;
        Ok(taken)
    }

    fn early_end(&self) -> Flaw {
        // A last 0xFF is the first half of a marker or of a stuffed byte.
        match self.rest {
            [] | [0xFF] => Flaw::truncated("the data ends before the picture's last block"),
            _ => Flaw::damaged("a marker comes before the picture's last block"),
        }
    }

    /// Ends the data. The rest of the last byte is padding. It returns how many whole
    /// bytes lie unread before the next marker, and the bytes that begin with the marker.
    pub fn end(mut self) -> (usize, &'a [u8]) {
        let mut unread = self.count as usize / 8;
        loop {
            self.count = 0;
            self.buffer = 0;
            self.fill();
            if self.count == 0 {
                return (unread, self.rest);
            }
            unread += self.count as usize / 8;
        }
    }
}
