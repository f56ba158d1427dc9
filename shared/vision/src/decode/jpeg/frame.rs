//! The frame header of a JPEG (T.81, B.2.2).

use super::{flaw::Flaw, segments::Segment};

/// The frame header: the size of the picture, and how its components are sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub width: u16,
    pub height: u16,
    pub progressive: bool,
    /// The sampling factors of each component, horizontal and vertical: how many blocks of
    /// it stand side by side and one below the other in a minimum coded unit (MCU).
    pub sampling: Vec<(u64, u64)>,
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
            return Err(Flaw::Unsupported(format!("JPEG of {precision} bits")));
        }
        let sampling: Vec<_> = rest
            .as_chunks::<3>()
            .0
            .iter()
            .take((*count).into())
            .map(|&[_, factors, _]| (u64::from(factors >> 4), u64::from(factors & 15)))
            .collect();
        let sane = |(horizontal, vertical): &(u64, u64)| {
            (1..=4).contains(horizontal) && (1..=4).contains(vertical)
        };
        if sampling.len() != usize::from(*count) || !sampling.iter().all(sane) {
            return Err(Flaw::damaged("a frame header that makes no sense"));
        }
        if ![1, 3, 4].contains(count) {
            return Err(Flaw::Unsupported(format!("JPEG of {count} components")));
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
            sampling,
        }))
    }

    /// The largest vertical sampling factor.
    fn rows(&self) -> u64 {
        self.sampling.iter().map(|&(_, v)| v).max().unwrap_or(1)
    }

    /// The memory for the coefficients of a picture in several scans, which stay in memory
    /// until its last scan, in bytes per pixel and rounded up: two bytes a coefficient.
    pub fn coefficient_bytes_per_pixel(&self) -> u64 {
        let columns = self.sampling.iter().map(|&(h, _)| h).max().unwrap_or(1);
        let sampled: u64 = self.sampling.iter().map(|&(h, v)| h * v).sum();
        (sampled * 2).div_ceil(columns * self.rows())
    }

    /// The memory for the rows of samples that the decoder works at, in bytes: of each
    /// component two rows of blocks, and those above and below.
    pub fn row_bytes(&self) -> u64 {
        u64::from(self.width) * self.sampling.len() as u64 * self.rows() * 18
    }
}
