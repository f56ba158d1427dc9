//! The frame header of a JPEG (T.81, B.2.2).

use maskline_messages::Reason;

use super::{
    flaw::Flaw,
    segments::{Segment, Segments, marker},
};

/// The frame header: the size of the picture, and how its components are sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub width: usize,
    pub height: usize,
    pub progressive: bool,
    pub components: Vec<Component>,
}

/// A component of the picture: luma, or one of the two chroma channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    pub id: u8,
    /// The sampling factors: how many blocks of the component stand side by side and
    /// one below the other in a minimum coded unit (MCU).
    pub horizontal: usize,
    pub vertical: usize,
    /// The number of its quantization table.
    pub quantization: usize,
}

impl Frame {
    /// Finds the frame header of a JPEG.
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

    /// Parses a segment. It returns `None` if the segment is no frame header.
    pub fn parse(segment: &Segment) -> Result<Option<Self>, Flaw> {
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

    /// Width and height as stored, before the orientation is applied.
    pub fn size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// The largest horizontal or vertical sampling factor of all components.
    pub fn largest(&self, factor: impl Fn(&Component) -> usize) -> usize {
        self.components.iter().map(factor).max().unwrap_or(1)
    }

    /// The memory for the coefficients of a progressive picture, which stay in memory
    /// until its last scan, in bytes per pixel and rounded up: two bytes a coefficient in
    /// the decoder, and one bit in this check.
    pub fn coefficient_bytes_per_pixel(&self) -> u64 {
        if !self.progressive {
            return 0;
        }
        let unit = self.largest(|c| c.horizontal) * self.largest(|c| c.vertical);
        let sampled: usize = self
            .components
            .iter()
            .map(|c| c.horizontal * c.vertical)
            .sum();
        (sampled * 17).div_ceil(unit * 8) as u64
    }
}
