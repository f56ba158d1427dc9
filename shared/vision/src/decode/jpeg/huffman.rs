//! Huffman codes (T.81, annex C).

use super::{bits::Bits, flaw::Flaw};

/// Codes up to this length are found with one access to a table.
const QUICK: u32 = 9;

/// A table of Huffman codes.
pub struct HuffmanTable {
    /// The length and the symbol of the code that the next [`QUICK`] bits begin with.
    /// The length is 0 for longer codes.
    quick: [(u8, u8); 1 << QUICK],
    /// For each length, one more than its last code, aligned to the left of 16 bits.
    ends: [u32; 17],
    /// For each length, the number to add to a code for its index among the symbols.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl HuffmanTable {
    /// Parses a table of a DHT segment, behind the byte of its class and number. It
    /// returns the table and the bytes that follow it.
    pub fn parse(data: &[u8]) -> Result<(Self, &[u8]), Flaw> {
        const NONSENSE: Flaw = Flaw::damaged("a Huffman table that makes no sense");
        let (counts, rest) = data.split_at_checked(16).ok_or(NONSENSE)?;
        let total = counts.iter().map(|&count| usize::from(count)).sum();
        let (symbols, rest) = rest.split_at_checked(total).ok_or(NONSENSE)?;
        let mut table = Self {
            quick: [(0, 0); 1 << QUICK],
            ends: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = usize::from(counts[length as usize - 1]);
            table.offsets[length as usize] = index as i32 - code as i32;
            for &symbol in &symbols[index..index + count] {
                if code >= 1 << length {
                    return Err(NONSENSE);
                }
                if length <= QUICK {
                    let from = (code << (QUICK - length)) as usize;
                    table.quick[from..from + (1 << (QUICK - length))].fill((length as u8, symbol));
                }
                code += 1;
            }
            index += count;
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok((table, rest))
    }

    /// Reads the next symbol.
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
                let index = code + self.offsets[length as usize];
                let symbol = usize::try_from(index)
                    .ok()
                    .and_then(|index| self.symbols.get(index));
                return symbol
                    .copied()
                    .ok_or(Flaw::damaged("a code that no table has"));
            }
        }
        // If zeros were filled in for missing bits, then the data ends early.
        bits.need(16)?;
        Err(Flaw::damaged("a code that no table has"))
    }
}
