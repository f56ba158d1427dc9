//! The frame header of a JPEG (T.81, B.2.2).

use super::{flaw::Flaw, segments::Segment};

/// The frame header: the size of the picture, and how its components are sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub width: u16,
    pub height: u16,
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
    /// Parses a segment. It returns `None` if the segment is no frame header.
    pub fn parse(segment: &Segment) -> Result<Option<Self>, Flaw> {
        let progressive = match segment.marker {
            0xC0 | 0xC1 => false,
            0xC2 => true,
            0xC3 => return Err(Flaw::unsupported("lossless JPEG")),
            0xC5..=0xC7 | 0xCD..=0xCF => return Err(Flaw::unsupported("hierarchical JPEG")),
            // The codes always make sense, so that damage would go unseen. No browser
            // shows these files either.
            0xC9..=0xCB => return Err(Flaw::unsupported("arithmetic-coded JPEG")),
            _ => return Ok(None),
        };
        let [precision, h1, h0, w1, w0, count, rest @ ..] = segment.data else {
            return Err(Flaw::damaged("a short frame header"));
        };
        if *precision != 8 {
            return Err(Flaw::Unsupported(
                format!("JPEG of {precision} bits").into(),
            ));
        }
        let components: Vec<_> = rest
            .as_chunks::<3>()
            .0
            .iter()
            .take((*count).into())
            .map(|&[id, factors, quantization]| Component {
                id,
                horizontal: (factors >> 4).into(),
                vertical: (factors & 15).into(),
                quantization: quantization.into(),
            })
            .collect();
        let sane = |c: &Component| (1..=4).contains(&c.horizontal) && (1..=4).contains(&c.vertical);
        if components.len() != usize::from(*count) || !components.iter().all(sane) {
            return Err(Flaw::damaged("a frame header that makes no sense"));
        }
        if ![1, 3, 4].contains(count) {
            return Err(Flaw::Unsupported(
                format!("JPEG of {count} components").into(),
            ));
        }
        let (width, height) = (
            u16::from_be_bytes([*w1, *w0]),
            u16::from_be_bytes([*h1, *h0]),
        );
        if height == 0 {
            return Err(Flaw::unsupported("JPEG with its height at the end"));
        }
        if width == 0 {
            return Err(Flaw::damaged("a picture without pixels"));
        }
        Ok(Some(Self {
            width,
            height,
            progressive,
            components,
        }))
    }

    /// The largest horizontal or vertical sampling factor of all components.
    pub fn largest(&self, factor: impl Fn(&Component) -> usize) -> usize {
        self.components.iter().map(factor).max().unwrap_or(1)
    }

    /// The memory for the coefficients of a picture in several scans, which stay in memory
    /// until its last scan, in bytes per pixel and rounded up: two bytes a coefficient in the
    /// decoder, and one bit in the check of the scans.
    pub fn coefficient_bytes_per_pixel(&self) -> u64 {
        let unit = self.largest(|c| c.horizontal) * self.largest(|c| c.vertical);
        let blocks = |c: &Component| c.horizontal * c.vertical;
        let sampled: usize = self.components.iter().map(blocks).sum();
        (sampled * 17).div_ceil(unit * 8) as u64
    }

    /// The memory for the rows of samples that the decoder works at, in bytes: of each
    /// component two rows of blocks, and those above and below.
    pub fn row_bytes(&self) -> u64 {
        let rows = self.components.len() * self.largest(|c| c.vertical) * 18;
        u64::from(self.width) * rows as u64
    }
}
