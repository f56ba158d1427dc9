//! The tables that the segments of a JPEG define (T.81, B.2.4).

use super::{flaw::Flaw, huffman::HuffmanTable};

/// The tables that the segments before a scan have defined.
#[derive(Default)]
pub struct Tables {
    /// The Huffman tables for DC coefficients.
    pub dc: [Option<HuffmanTable>; 4],
    /// The Huffman tables for AC coefficients.
    pub ac: [Option<HuffmanTable>; 4],
    /// The quantization step of the DC coefficient, by quantization table.
    pub dc_step: [Option<u16>; 4],
    /// The number of minimum coded units between restart markers, or 0 if there are
    /// no restart markers.
    pub restart_interval: usize,
}

impl Tables {
    /// Takes the tables of a DHT segment.
    pub fn define_huffman(&mut self, mut data: &[u8]) -> Result<(), Flaw> {
        while let [which, rest @ ..] = data {
            let (table, rest) = HuffmanTable::parse(rest)?;
            let index = usize::from(which & 15);
            let tables = if which >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            *tables
                .get_mut(index)
                .ok_or(Flaw::damaged("a Huffman table that makes no sense"))? = Some(table);
            data = rest;
        }
        Ok(())
    }

    /// Takes the tables of a DQT segment. The decoder complains about malformed ones.
    pub fn define_quantization(&mut self, mut data: &[u8]) {
        while let [which, rest @ ..] = data {
            let wide = which >> 4 != 0;
            let length = if wide { 128 } else { 64 };
            let Some((table, rest)) = rest.split_at_checked(length) else {
                return;
            };
            let step = if wide {
                u16::from_be_bytes([table[0], table[1]])
            } else {
                table[0].into()
            };
            if let Some(dc_step) = self.dc_step.get_mut(usize::from(which & 15)) {
                *dc_step = Some(step);
            }
            data = rest;
        }
    }
}
