//! The pixels of a TIFF whose strips or tiles are JPEGs (TIFF Technical Note 2), by the decoder
//! of JPEGs. The decoder of the `tiff` crate knows nothing of our limits there.

use std::io::Cursor;

use image::{ColorType, metadata::Orientation};
use maskline_messages::Reason;
use tiff::{
    decoder::{ChunkType, Decoder},
    tags::{PhotometricInterpretation as Colors, Tag},
};

use super::{check_tiles, refusal, unsupported};
use crate::decode::{
    Limits,
    jpeg::{Jpeg, Stored},
};

/// The most strips or tiles. Each of them costs some time, however few pixels it has.
const MOST_PARTS: usize = 4096;

/// The markers around a JPEG, of two bytes each.
const MARKER: usize = 2;

/// A TIFF of JPEGs whose directory has been read.
pub struct Jpegs<'a> {
    bytes: &'a [u8],
    size: (u32, u32),
    stored: Stored,
    /// The tables that the parts share, as a JPEG without a picture.
    tables: Vec<u8>,
    /// The offset and the number of the bytes of each strip or tile.
    parts: Vec<(u64, u64)>,
    /// The width and height of a strip or tile. The last strip may have fewer rows.
    part: (u32, u32),
    is_tiled: bool,
    pub orientation: Option<Orientation>,
    pub profile: Option<Vec<u8>>,
}

impl<'a> Jpegs<'a> {
    /// Reads the rest of a directory whose method of compression is JPEG.
    pub fn open(
        decoder: &mut Decoder<Cursor<&'a [u8]>>,
        bytes: &'a [u8],
        limits: &Limits,
    ) -> Result<Self, Reason> {
        let mut number = |tag| decoder.find_tag_unsigned::<u16>(tag).map_err(refusal);
        let samples = number(Tag::SamplesPerPixel)?.unwrap_or(1);
        let colors = number(Tag::PhotometricInterpretation)?.and_then(Colors::from_u16);
        let stored = match (colors, samples) {
            (Some(Colors::BlackIsZero), 1) => Stored::Grey,
            (Some(Colors::RGB), 3) => Stored::Rgb,
            (Some(Colors::YCbCr), 3) => Stored::YCbCr,
            _ => return Err(unsupported("TIFF of JPEGs of these colours")),
        };
        if samples > 1 && number(Tag::PlanarConfiguration)? == Some(2) {
            return Err(unsupported("TIFF of JPEGs in planes"));
        }
        let orientation = number(Tag::Orientation)?.and_then(|number| number.try_into().ok());
        let is_tiled = decoder.get_chunk_type() == ChunkType::Tile;
        let (offsets, counts) = match is_tiled {
            true => (Tag::TileOffsets, Tag::TileByteCounts),
            false => (Tag::StripOffsets, Tag::StripByteCounts),
        };
        if is_tiled {
            check_tiles(decoder, limits)?;
        }
        let (width, height) = decoder.dimensions().map_err(refusal)?;
        let (part_width, part_height) = decoder.chunk_dimensions();
        let part = (part_width, part_height.min(height.max(1)));
        let columns = width.div_ceil(part.0.max(1)) as usize;
        let count = columns.saturating_mul(height.div_ceil(part.1.max(1)) as usize);
        if count > MOST_PARTS {
            let what = format!("TIFF of more than {MOST_PARTS} JPEGs");
            return Err(unsupported(&what));
        }
        let mut numbers = |tag| decoder.get_tag_u64_vec(tag).map_err(refusal);
        let parts = numbers(offsets)?.into_iter().zip(numbers(counts)?);
        let parts: Vec<_> = parts.take(count).collect();
        if parts.len() < count {
            return Err(truncated());
        }
        Ok(Self {
            bytes,
            size: (width, height),
            stored,
            tables: decoder.get_tag_u8_vec(Tag::JPEGTables).unwrap_or_default(),
            parts,
            part,
            is_tiled,
            orientation: orientation.and_then(Orientation::from_exif),
            profile: decoder.get_tag_u8_vec(Tag::IccProfile).ok(),
        })
    }

    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// What the pixels are decoded to.
    pub fn color(&self) -> ColorType {
        match self.stored {
            Stored::Grey => ColorType::L8,
            Stored::Rgb | Stored::YCbCr => ColorType::Rgb8,
        }
    }

    /// The memory that decoding takes beside the pixels: a strip or tile, its bytes together with
    /// the tables, and the rows that the decoder works at.
    pub fn working_memory(&self) -> u64 {
        let (width, height) = (u64::from(self.part.0), u64::from(self.part.1));
        let largest = self.parts.iter().map(|&(_, count)| count).max();
        let channels = u64::from(self.color().channel_count());
        let pixels = width.saturating_mul(height).saturating_mul(channels);
        let rows = width.saturating_mul(channels * 4 * 18);
        let bytes = largest.unwrap_or(0).min(self.bytes.len() as u64);
        pixels.saturating_add(rows).saturating_add(bytes)
    }

    /// Decodes the pixels. `memory` is the most bytes that the decoder may take.
    pub fn read(&self, memory: u64, pixels: &mut [u8]) -> Result<(), Reason> {
        let channels = usize::from(self.color().channel_count());
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let (part_width, part_height) = (self.part.0 as usize, self.part.1 as usize);
        let columns = width.div_ceil(part_width);
        let mut decoded = vec![0; part_width * part_height * channels];
        for (index, &place) in self.parts.iter().enumerate() {
            let (left, top) = (index % columns * part_width, index / columns * part_height);
            let rows = part_height.min(height - top);
            let stored_rows = if self.is_tiled { part_height } else { rows };
            let bytes = self.stream(place)?;
            let jpeg = Jpeg::open_stored(&bytes, self.stored)?;
            if jpeg.size() != (self.part.0, stored_rows as u32) {
                return Err(Reason::Undecodable {
                    detail: "a JPEG in the TIFF has another size than its part".to_owned(),
                });
            }
            let decoded = &mut decoded[..part_width * stored_rows * channels];
            jpeg.read(memory, decoded)?;
            let shown = part_width.min(width - left) * channels;
            let lines = decoded.chunks_exact(part_width * channels).take(rows);
            let start = (top * width + left) * channels;
            for (line, to) in lines.zip(pixels[start..].chunks_mut(width * channels)) {
                to[..shown].copy_from_slice(&line[..shown]);
            }
        }
        Ok(())
    }

    /// A part as a whole JPEG: with the tables that it shares with others.
    fn stream(&self, (offset, count): (u64, u64)) -> Result<Vec<u8>, Reason> {
        let range = || {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(count).ok()?)?;
            self.bytes.get(start..end)
        };
        let part = range().ok_or_else(truncated)?;
        let (begin, picture) = part.split_at_checked(MARKER).ok_or_else(truncated)?;
        let tables = self.tables.get(MARKER..).unwrap_or_default();
        let tables = &tables[..tables.len().saturating_sub(MARKER)];
        Ok([begin, tables, picture].concat())
    }
}

fn truncated() -> Reason {
    Reason::Truncated {
        detail: "a strip or tile of the TIFF is missing".to_owned(),
    }
}
