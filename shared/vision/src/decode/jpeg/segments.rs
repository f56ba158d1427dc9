//! The marker segments of a JPEG (T.81, B.1.1).

use super::flaw::Flaw;

/// The markers that are looked for (T.81, table B.1).
pub mod marker {
    pub const DHT: u8 = 0xC4;
    pub const DQT: u8 = 0xDB;
    pub const DRI: u8 = 0xDD;
    pub const SOI: u8 = 0xD8;
    pub const EOI: u8 = 0xD9;
    pub const SOS: u8 = 0xDA;
    pub const APP1: u8 = 0xE1;
    pub const APP2: u8 = 0xE2;
    pub const RST0: u8 = 0xD0;
    pub const RST7: u8 = 0xD7;
    pub const TEM: u8 = 0x01;
}

/// A marker and its data.
pub struct Segment<'a> {
    pub marker: u8,
    /// The data, without marker and length.
    pub data: &'a [u8],
}

/// Reads marker segments one after the other, and skips what lies between them, such as
/// the entropy-coded data of a scan.
pub struct Segments<'a> {
    /// The bytes behind the last segment.
    pub rest: &'a [u8],
}

impl<'a> Segments<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads the next segment. It returns `None` at the end of the bytes.
    pub fn next(&mut self) -> Result<Option<Segment<'a>>, Flaw> {
        loop {
            let Some(at) = self.rest.iter().position(|&byte| byte == 0xFF) else {
                return Ok(None);
            };
            let after = &self.rest[at..];
            let Some(name) = after.iter().position(|&byte| byte != 0xFF) else {
                return Ok(None);
            };
            let marker = after[name];
            self.rest = &after[name + 1..];
            match marker {
                0 | marker::TEM | marker::SOI | marker::RST0..=marker::RST7 => {}
                marker::EOI => return Ok(Some(Segment { marker, data: &[] })),
                _ => {
                    let short = Flaw::truncated("within a marker segment");
                    let &[high, low, ..] = self.rest else {
                        return Err(short);
                    };
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    let data = self.rest.get(2..length.max(2)).ok_or(short)?;
                    self.rest = &self.rest[length.max(2)..];
                    return Ok(Some(Segment { marker, data }));
                }
            }
        }
    }
}
