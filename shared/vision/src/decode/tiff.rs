//! Checks the directory of a TIFF before a pixel is decoded.
//!
//! A strip or tile may be compressed by another format's method, which knows nothing of our
//! limits, and a tile may be far larger than the picture.

mod jpegs;

use std::io::Cursor;

use image::{ImageDecoder, ImageError, codecs::tiff::TiffDecoder};
use maskline_messages::Reason;
use tiff::{
    ColorType, TiffError,
    decoder::{ChunkType, Decoder},
    tags::{CompressionMethod as Method, ExtraSamples, PhotometricInterpretation as Colors, Tag},
};

use super::{Limits, check_size};
pub use jpegs::Jpegs;

/// The decoder of a TIFF.
pub enum Tiff<'a> {
    Jpegs(Jpegs<'a>),
    Other(Box<dyn ImageDecoder + 'a>),
}

/// Reads the first directory and checks it. The error of a decoder is for the caller to explain.
pub fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Result<Tiff<'a>, ImageError>, Reason> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(refusal)?;
    let method = decoder.find_tag_unsigned::<u16>(Tag::Compression);
    let method = Method::from_u16_exhaustive(method.map_err(refusal)?.unwrap_or(1));
    if method == Method::ModernJPEG {
        return Ok(Ok(Tiff::Jpegs(Jpegs::open(&mut decoder, bytes, limits)?)));
    }
    check(&mut decoder, method, limits)?;
    let other = TiffDecoder::new(Cursor::new(bytes));
    Ok(other.map(|decoder| Tiff::Other(Box::new(decoder))))
}

/// Checks the method of compression, the colours, and the pixels of all tiles together. What the
/// decoder ignores, or uses where others ignore it, is refused.
fn check(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    method: Method,
    limits: &Limits,
) -> Result<(), Reason> {
    let mut number = |tag| decoder.find_tag_unsigned::<u16>(tag).map_err(refusal);
    match method {
        Method::None
        | Method::LZW
        | Method::Deflate
        | Method::OldDeflate
        | Method::PackBits
        | Method::Fax4 => {}
        Method::JPEG => return Err(unsupported("TIFF of JPEGs as in its version 6")),
        _ => return Err(unsupported(&format!("TIFF of compression {method:?}"))),
    }
    if number(Tag::FillOrder)? == Some(2) {
        return Err(unsupported("TIFF of reversed bits"));
    }
    let has_differences = number(Tag::Predictor)?.is_some_and(|predictor| predictor != 1);
    let may_have = matches!(method, Method::LZW | Method::Deflate | Method::OldDeflate);
    if has_differences && !may_have {
        return Err(unsupported("TIFF of differences without LZW or deflate"));
    }
    match number(Tag::PhotometricInterpretation)?.and_then(Colors::from_u16) {
        Some(Colors::RGBPalette) => return Err(unsupported("TIFF with a palette")),
        Some(Colors::YCbCr) => return Err(unsupported("TIFF in YCbCr")),
        Some(Colors::CIELab) => return Err(unsupported("TIFF in Lab")),
        _ => {}
    }
    let planes = number(Tag::PlanarConfiguration)? == Some(2);
    // The decoder counts the rows in 16 bits.
    if method == Method::Fax4 && decoder.chunk_dimensions().1 > u16::MAX.into() {
        return Err(unsupported(
            "TIFF of fax 4 in strips of more than 65535 rows",
        ));
    }
    check_samples(decoder, has_differences && !planes)?;
    if decoder.get_chunk_type() == ChunkType::Tile {
        if planes {
            // The decoder panics over them.
            return Err(unsupported("TIFF of tiles in planes"));
        }
        check_tiles(decoder, limits)?;
    }
    Ok(())
}

/// Checks what the samples of a pixel mean. `mixed_differences` says that they are differences
/// from the pixel before, with all channels beside each other.
fn check_samples(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    mixed_differences: bool,
) -> Result<(), Reason> {
    let count = decoder.find_tag_unsigned::<u16>(Tag::SamplesPerPixel);
    let count = count.map_err(refusal)?.unwrap_or(1);
    let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples);
    let extra = extra.map_err(refusal)?.unwrap_or_default();
    if extra.first() == Some(&ExtraSamples::AssociatedAlpha.to_u16()) {
        return Err(unsupported("TIFF of colours that are multiplied by alpha"));
    }
    let has_profile = decoder.image_ifd().directory().contains(Tag::IccProfile);
    match decoder.colortype().map_err(refusal)? {
        ColorType::Multiband { .. } => Err(unsupported("TIFF in grey with more channels")),
        ColorType::CMYKA(_) => Err(unsupported("TIFF in CMYK with more channels")),
        ColorType::CMYK(_) if has_profile => Err(unsupported("TIFF in CMYK with a colour profile")),
        color if color.bit_depth() < 8 && color != ColorType::Gray(1) => Err(unsupported(
            &format!("TIFF of {}-bit samples", color.bit_depth()),
        )),
        // The decoder leaves out the other channels before it adds the differences up.
        color if mixed_differences && count > color.num_samples() => {
            Err(unsupported("TIFF of differences with more channels"))
        }
        _ => Ok(()),
    }
}

/// Tiles at the border reach beyond the picture, and are decoded whole.
fn check_tiles(decoder: &mut Decoder<Cursor<&[u8]>>, limits: &Limits) -> Result<(), Reason> {
    let (width, height) = decoder.dimensions().map_err(refusal)?;
    let (tile_width, tile_height) = decoder.chunk_dimensions();
    let tiled = |side: u32, tile: u32| side.div_ceil(tile.max(1)).saturating_mul(tile);
    check_size(
        (tiled(width, tile_width), tiled(height, tile_height)),
        limits.pixels,
    )
}

fn unsupported(format: &str) -> Reason {
    Reason::Unsupported {
        format: format.to_owned(),
    }
}

/// The reason of the rejection for an error in the directory.
fn refusal(error: TiffError) -> Reason {
    let detail = error.to_string();
    match error {
        TiffError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Reason::Truncated { detail }
        }
        TiffError::UnsupportedError(what) => Reason::Unsupported {
            format: format!("TIFF ({what})"),
        },
        _ => Reason::Undecodable { detail },
    }
}
