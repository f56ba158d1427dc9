//! Decodes a JPEG. A picture of which a part is missing or damaged is refused.
//!
//! libjpeg-turbo decodes, as everywhere else: other programs see the same pixels. The
//! header is read before, for the limits and for the reasons of what is refused, and the codes
//! are, for damage of which libjpeg-turbo does not warn.

mod bits;
mod codes;
mod filler;
mod flaw;
mod frame;
mod header;
mod huffman;
mod libjpeg;
mod scan;
mod segments;
mod tables;

use image::{ColorType, metadata::Orientation};
use maskline_messages::Reason;

use super::profile::Profile;
use flaw::Flaw;
use header::Header;

/// A JPEG whose header has been read.
pub struct Jpeg<'a> {
    bytes: &'a [u8],
    header: Header<'a>,
    /// What the components are, if it is known from elsewhere.
    stored: Option<Stored>,
}

/// What the components of a picture are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    Grey,
    Rgb,
    YCbCr,
}

impl<'a> Jpeg<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<Self, Reason> {
        let header = Header::read(bytes)?;
        Ok(Self {
            bytes,
            header,
            stored: None,
        })
    }

    /// Opens a JPEG in a TIFF, which says what the components are, whatever the JPEG says. Such a
    /// JPEG has one scan.
    pub fn open_stored(bytes: &'a [u8], stored: Stored) -> Result<Self, Reason> {
        let header = Header::read(bytes)?;
        let components = if stored == Stored::Grey { 1 } else { 3 };
        if header.frame.components.len() != components {
            return Err(Flaw::damaged("other components than the TIFF says").into());
        }
        if header.several_scans {
            return Err(Flaw::unsupported("TIFF of JPEGs of several scans").into());
        }
        Ok(Self {
            bytes,
            header,
            stored: Some(stored),
        })
    }

    /// Width and height as stored, before the orientation is applied.
    pub fn size(&self) -> (u32, u32) {
        let frame = &self.header.frame;
        (frame.width.into(), frame.height.into())
    }

    /// What the pixels are decoded to.
    pub fn color(&self) -> ColorType {
        match self.header.frame.components.len() {
            1 => ColorType::L8,
            _ => ColorType::Rgb8,
        }
    }

    /// The memory that decoding takes beside the pixels: bytes per pixel, and bytes.
    pub fn working_memory(&self) -> (u64, u64) {
        let frame = &self.header.frame;
        let coefficients = match self.header.several_scans {
            true => frame.coefficient_bytes_per_pixel(),
            false => 0,
        };
        (coefficients, frame.row_bytes())
    }

    pub fn orientation(&self) -> Option<Orientation> {
        Orientation::from_exif_chunk(self.header.exif?)
    }

    /// The colour profile of the pixels that [`Self::read`] makes.
    pub fn profile(&self) -> Option<Vec<u8>> {
        (!self.is_cmyk()).then(|| self.header.profile()).flatten()
    }

    /// Decodes the pixels. `memory` is the most bytes that coefficients may take.
    pub fn read(&self, memory: u64, pixels: &mut [u8]) -> Result<(), Reason> {
        codes::check(self.bytes, &self.header.frame)?;
        let profile = self.header.profile().filter(|_| self.is_cmyk());
        let profile = profile.and_then(|profile| Profile::of_cmyk(&profile));
        let cmyk_to_rgb = |cmyk: &[u8], rgb: &mut [u8]| match &profile {
            Some(profile) => profile.convert_inverted_cmyk(cmyk, rgb),
            None => multiplied(cmyk, rgb),
        };
        let source = libjpeg::Source {
            bytes: self.bytes,
            header: &self.header,
            stored: self.stored,
        };
        libjpeg::decode(&source, memory, cmyk_to_rgb, pixels)?;
        Ok(())
    }

    fn is_cmyk(&self) -> bool {
        self.header.frame.components.len() == 4
    }
}

/// Converts CMYK to RGB without a profile. As Adobe's programs write it, and as everybody
/// reads it, 0 is full ink.
fn multiplied(cmyk: &[u8], rgb: &mut [u8]) {
    let pixels = cmyk.as_chunks::<4>().0;
    for (&[c, m, y, k], rgb) in pixels.iter().zip(rgb.as_chunks_mut::<3>().0) {
        let scaled = |ink: u8| ((u32::from(ink) * u32::from(k) + 127) / 255) as u8;
        *rgb = [scaled(c), scaled(m), scaled(y)];
    }
}
