//! Huffman codes (T.81, annex C).

use super::{Flaw, bits::Bits};

/// Codes up to this long are found in one look.
const QUICK: u32 = 9;

/// A table of codes.
pub struct Table {
    /// By the next [`QUICK`] bits: the code's length and symbol; length 0 for
    /// longer codes.
    quick: [(u8, u8); 1 << QUICK],
    /// By length: one more than the last code, aligned to the left of 16 bits.
    ends: [u32; 17],
    /// By length: what to add to a code for its place among the symbols.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// From a DHT segment, behind the table's class and place. Returns the table
    /// and what follows it.
    pub fn parse(data: &[u8]) -> Result<(Self, &[u8]), Flaw> {
        const NONSENSE: Flaw = Flaw::Damaged("a Huffman table that makes no sense");
        let (counts, rest) = data.split_at_checked(16).ok_or(NONSENSE)?;
        let total = counts.iter().map(|&count| usize::from(count)).sum();
        let (symbols, rest) = rest.split_at_checked(total).ok_or(NONSENSE)?;
        let mut table = Self {
            quick: [(0, 0); 1 << QUICK],
            ends: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = usize::from(counts[length as usize - 1]);
            table.offsets[length as usize] = place as i32 - code as i32;
            for &symbol in &symbols[place..place + count] {
                if code >= 1 << length {
                    return Err(NONSENSE);
                }
                if length <= QUICK {
                    let from = (code << (QUICK - length)) as usize;
                    table.quick[from..from + (1 << (QUICK - length))].fill((length as u8, symbol));
                }
                code += 1;
            }
            place += count;
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok((table, rest))
    }

    /// Takes the next symbol.
    pub fn symbol(&self, bits: &mut Bits) -> Result<u8, Flaw> {
        let next = bits.peek16();
        let (length, symbol) = self.quick[(next >> (16 - QUICK)) as usize];
        if length > 0 {
            bits.skip(length.into())?;
            return Ok(symbol);
        }
        for length in QUICK + 1..=16 {
            if next < self.ends[length as usize] {
                bits.skip(length)?;
                let code = (next >> (16 - length)) as i32;
                let place = code + self.offsets[length as usize];
                let symbol = usize::try_from(place)
                    .ok()
                    .and_then(|place| self.symbols.get(place));
                return symbol
                    .copied()
                    .ok_or(Flaw::Damaged("a code that no table has"));
            }
        }
        // Zeros stand in for bits that are not there: then it is the end that is wrong.
        bits.need(16)?;
        Err(Flaw::Damaged("a code that no table has"))
    }
}
