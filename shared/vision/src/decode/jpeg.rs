//! Whether a JPEG's data really reaches its last pixel.
//!
//! Decoders fill in grey where the data ends early and go on where it is damaged,
//! which is right for a viewer and wrong for a data set. So the entropy-coded data
//! is read here once, without computing a pixel (ITU-T T.81, annexes F and G): a
//! file whose bytes end before its last block is truncated, one whose codes make
//! no sense or do not fill the data is damaged, and one that lacks only the end
//! marker is sound.

mod bits;
mod huffman;
mod scan;

use maskline_messages::Reason;

use huffman::Table;
use scan::{Coverage, Scan};

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Flaw {
    /// The bytes end before the picture does.
    Truncated(&'static str),
    Damaged(&'static str),
    Unsupported(&'static str),
}

impl From<Flaw> for Reason {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Truncated(detail) => Self::Truncated {
                detail: detail.to_owned(),
            },
            Flaw::Damaged(detail) => Self::Undecodable {
                detail: format!("damaged JPEG: {detail}"),
            },
            Flaw::Unsupported(format) => Self::Unsupported {
                format: format.to_owned(),
            },
        }
    }
}

/// The frame header: what the scans code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    width: usize,
    height: usize,
    progressive: bool,
    components: Vec<Component>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Component {
    id: u8,
    /// Sampling factors: blocks of a minimum coded unit.
    horizontal: usize,
    vertical: usize,
    quantization: usize,
}

impl Frame {
    /// The frame header of a JPEG.
    pub fn of(bytes: &[u8]) -> Result<Self, Reason> {
        let mut segments = Segments::new(bytes);
        loop {
            let segment = segments
                .next()?
                .ok_or(Flaw::Truncated("before the frame header"))?;
            if let Some(frame) = Self::parse(&segment)? {
                return Ok(frame);
            }
            if segment.marker == marker::SOS || segment.marker == marker::EOI {
                return Err(Flaw::Damaged("no frame header").into());
            }
        }
    }

    /// `None` if the segment is no frame header.
    fn parse(segment: &Segment) -> Result<Option<Self>, Flaw> {
        let progressive = match segment.marker {
            0xC0 | 0xC1 => false,
            0xC2 => true,
            0xC3 => return Err(Flaw::Unsupported("lossless JPEG")),
            0xC5..=0xC7 | 0xCD..=0xCF => return Err(Flaw::Unsupported("hierarchical JPEG")),
            0xC9..=0xCB => return Err(Flaw::Unsupported("arithmetic-coded JPEG")),
            _ => return Ok(None),
        };
        let [precision, h1, h0, w1, w0, count, rest @ ..] = segment.data else {
            return Err(Flaw::Damaged("a short frame header"));
        };
        if *precision != 8 {
            return Err(Flaw::Unsupported("JPEG of more than 8 bits"));
        }
        let components: Vec<_> = rest
            .as_chunks::<3>()
            .0
            .iter()
            .take((*count).into())
            .map(|&[id, sampling, quantization]| Component {
                id,
                horizontal: (sampling >> 4).into(),
                vertical: (sampling & 15).into(),
                quantization: quantization.into(),
            })
            .collect();
        let sane = |c: &Component| (1..=4).contains(&c.horizontal) && (1..=4).contains(&c.vertical);
        if components.len() != usize::from(*count)
            || !(1..=4).contains(count)
            || !components.iter().all(sane)
        {
            return Err(Flaw::Damaged("a frame header that makes no sense"));
        }
        let (width, height) = (
            u16::from_be_bytes([*w1, *w0]),
            u16::from_be_bytes([*h1, *h0]),
        );
        if height == 0 {
            return Err(Flaw::Unsupported("JPEG with its height at the end"));
        }
        if width == 0 {
            return Err(Flaw::Damaged("a picture without pixels"));
        }
        Ok(Some(Self {
            width: width.into(),
            height: height.into(),
            progressive,
            components,
        }))
    }

    /// Width and height, as stored.
    pub fn size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    fn most(&self, factor: impl Fn(&Component) -> usize) -> usize {
        self.components.iter().map(factor).max().unwrap_or(1)
    }

    /// What a decoder keeps of a progressive picture until its last scan, rounded
    /// up: two bytes a coefficient, and here a bit for each.
    pub fn coefficient_bytes_per_pixel(&self) -> u64 {
        if !self.progressive {
            return 0;
        }
        let unit = self.most(|c| c.horizontal) * self.most(|c| c.vertical);
        let sampled: usize = self
            .components
            .iter()
            .map(|c| c.horizontal * c.vertical)
            .sum();
        (sampled * 17).div_ceil(unit * 8) as u64
    }
}

/// Reads all of a JPEG's codes.
pub fn check(bytes: &[u8]) -> Result<(), Reason> {
    Ok(walk(bytes)?)
}

fn walk(bytes: &[u8]) -> Result<(), Flaw> {
    let mut segments = Segments::new(bytes);
    let mut tables = Tables::default();
    let mut state: Option<(Frame, Coverage)> = None;
    while let Some(segment) = segments.next()? {
        match segment.marker {
            marker::DHT => tables.define_huffman(segment.data)?,
            marker::DQT => tables.define_quantization(segment.data),
            marker::DRI => {
                if let &[high, low, ..] = segment.data {
                    tables.restart_interval = u16::from_be_bytes([high, low]).into();
                }
            }
            marker::SOS => {
                let (frame, coverage) = state
                    .as_mut()
                    .ok_or(Flaw::Damaged("a scan before the frame header"))?;
                let scan = Scan::parse(segment.data, frame)?;
                segments.rest = scan.walk(frame, &tables, coverage, segments.rest)?;
                // What comes after the last scan of a sequential picture is no matter.
                if !frame.progressive && coverage.is_whole() {
                    return Ok(());
                }
            }
            marker::EOI => {
                return match &state {
                    Some((_, coverage)) if coverage.has_all_components() => Ok(()),
                    _ => Err(Flaw::Damaged(
                        "the end marker comes before the picture's end",
                    )),
                };
            }
            _ => {
                if let Some(frame) = Frame::parse(&segment)? {
                    if state.is_some() {
                        return Err(Flaw::Damaged("two frame headers"));
                    }
                    let coverage = Coverage::new(&frame);
                    state = Some((frame, coverage));
                }
            }
        }
    }
    match &state {
        Some((_, coverage)) if coverage.is_whole() => Ok(()),
        _ => Err(Flaw::Truncated("before the last scan")),
    }
}

/// The markers that matter here (T.81, table B.1).
mod marker {
    pub const DHT: u8 = 0xC4;
    pub const SOI: u8 = 0xD8;
    pub const EOI: u8 = 0xD9;
    pub const SOS: u8 = 0xDA;
    pub const DQT: u8 = 0xDB;
    pub const DRI: u8 = 0xDD;
    pub const RST0: u8 = 0xD0;
    pub const RST7: u8 = 0xD7;
    pub const TEM: u8 = 0x01;
}

struct Segment<'a> {
    marker: u8,
    /// Without marker and length.
    data: &'a [u8],
}

/// Marker segments, one after the other. What lies between them is skipped.
struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Segments<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// `None` at the end of the bytes.
    fn next(&mut self) -> Result<Option<Segment<'a>>, Flaw> {
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
                    let short = Flaw::Truncated("within a marker segment");
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

/// What the segments before a scan have defined.
#[derive(Default)]
struct Tables {
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// The step of the lowest frequency, by table.
    dc_step: [Option<u16>; 4],
    /// Minimum coded units between restart markers; 0: there are none.
    restart_interval: usize,
}

impl Tables {
    fn define_huffman(&mut self, mut data: &[u8]) -> Result<(), Flaw> {
        while let [which, rest @ ..] = data {
            let (table, rest) = Table::parse(rest)?;
            let place = usize::from(which & 15);
            let tables = if which >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            *tables
                .get_mut(place)
                .ok_or(Flaw::Damaged("a Huffman table that makes no sense"))? = Some(table);
            data = rest;
        }
        Ok(())
    }

    fn define_quantization(&mut self, mut data: &[u8]) {
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
            if let Some(place) = self.dc_step.get_mut(usize::from(which & 15)) {
                *place = Some(step);
            }
            data = rest;
        }
    }
}
