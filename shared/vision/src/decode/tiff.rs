//! Checks the directory of a TIFF before a pixel is decoded.
//!
//! A strip or tile may be compressed by another format's method, which knows nothing of our
//! limits, and a tile may be far larger than the picture.

use std::io::Cursor;

use maskline_messages::Reason;
use tiff::{
    TiffError,
    decoder::{ChunkType, Decoder},
    tags::{CompressionMethod as Method, PhotometricInterpretation as Colors, Tag},
};

use super::{Limits, check_size};

/// Checks the first directory: the method of compression, the colours, and the pixels of all
/// tiles together.
pub fn check(bytes: &[u8], limits: &Limits) -> Result<(), Reason> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(refusal)?;
    let mut number = |tag| decoder.find_tag_unsigned::<u16>(tag).map_err(refusal);
    let method = Method::from_u16_exhaustive(number(Tag::Compression)?.unwrap_or(1));
    match method {
        Method::None
        | Method::LZW
        | Method::Deflate
        | Method::OldDeflate
        | Method::PackBits
        | Method::Fax4 => {}
        Method::JPEG | Method::ModernJPEG => return Err(unsupported("TIFF of JPEGs")),
        _ => return Err(unsupported(&format!("TIFF of compression {method:?}"))),
    }
    match number(Tag::PhotometricInterpretation)?.and_then(Colors::from_u16) {
        Some(Colors::RGBPalette) => return Err(unsupported("TIFF with a palette")),
        Some(Colors::YCbCr) => return Err(unsupported("TIFF in YCbCr")),
        Some(Colors::CIELab) => return Err(unsupported("TIFF in Lab")),
        _ => {}
    }
    let planes = number(Tag::PlanarConfiguration)? == Some(2);
    if decoder.get_chunk_type() == ChunkType::Tile {
        if planes {
            // The decoder panics over them.
            return Err(unsupported("TIFF of tiles in planes"));
        }
        check_tiles(&mut decoder, limits)?;
    }
    Ok(())
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
