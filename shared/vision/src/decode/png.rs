//! Decodes a PNG. Its chunks are read before, for the limits and for the reasons of what is
//! refused.
//!
//! Texts are skipped, and the colour profile is inflated here, because both may be deflated
//! to a thousandth of their size.

mod colors;

use std::io::{Cursor, ErrorKind, Read};

use flate2::read::ZlibDecoder;
use image::{ColorType, metadata::Orientation};
use maskline_messages::Reason;
use png::{BitDepth, DecodingError, Transformations};

use super::{
    bytes::{ByteReader, truncated},
    frames::animated,
    profile::MAX_BYTES,
};

/// A PNG whose header has been read.
pub struct Png<'a> {
    bytes: &'a [u8],
    reader: png::Reader<Cursor<&'a [u8]>>,
    color: ColorType,
    limits: super::Limits,
}

/// Width and height of a PNG, which its first chunk begins with.
pub fn size(bytes: &[u8]) -> Result<(u32, u32), Reason> {
    if bytes.get(12..16) == Some(b"CgBI") {
        return Err(Reason::Unsupported {
            format: "PNG as Xcode writes it (CgBI)".to_owned(),
        });
    }
    let Some(&[a, b, c, d, e, f, g, h]) = bytes.get(16..24) else {
        return Err(truncated("within the header"));
    };
    Ok((
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    ))
}

/// The chunks of a PNG: type and data. The last item is an error if the file ends within a
/// chunk.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = Result<([u8; 4], &[u8]), Reason>> {
    let mut rest = ByteReader(bytes.get(8..).unwrap_or_default());
    std::iter::from_fn(move || {
        let (length, kind) = rest.bytes(8)?.split_at(4);
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        let kind: [u8; 4] = kind.try_into().expect("four bytes");
        // A checksum follows the data.
        let data = rest
            .bytes(length as usize)
            .filter(|_| rest.bytes(4).is_some());
        Some(data.map(|data| (kind, data)).ok_or_else(|| {
            rest = ByteReader(&[]);
            let kind = kind.escape_ascii();
            truncated(format!("within a chunk {kind} of {length} bytes"))
        }))
    })
}

impl<'a> Png<'a> {
    pub fn open(bytes: &'a [u8], limits: &super::Limits) -> Result<Self, Reason> {
        let most = png::Limits {
            bytes: usize::try_from(limits.memory).unwrap_or(usize::MAX),
        };
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), most);
        decoder.set_transformations(Transformations::EXPAND);
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let size = size(bytes)?;
        let reader = decoder
            .read_info()
            .map_err(|error| refusal(&error, size, limits))?;
        let (color, bits) = reader.output_color_type();
        let wide = bits == BitDepth::Sixteen;
        let color = match (color, wide) {
            (png::ColorType::Grayscale, false) => ColorType::L8,
            (png::ColorType::Grayscale, true) => ColorType::L16,
            (png::ColorType::GrayscaleAlpha, false) => ColorType::La8,
            (png::ColorType::GrayscaleAlpha, true) => ColorType::La16,
            // Palettes are expanded.
            (png::ColorType::Rgb | png::ColorType::Indexed, false) => ColorType::Rgb8,
            (png::ColorType::Rgb | png::ColorType::Indexed, true) => ColorType::Rgb16,
            (png::ColorType::Rgba, false) => ColorType::Rgba8,
            (png::ColorType::Rgba, true) => ColorType::Rgba16,
        };
        Ok(Self {
            bytes,
            reader,
            color,
            limits: *limits,
        })
    }

    pub fn size(&self) -> (u32, u32) {
        self.reader.info().size()
    }

    pub fn color(&self) -> ColorType {
        self.color
    }

    /// Checks that the chunks are complete, that there is one picture, and its colours.
    pub fn check(&self) -> Result<(), Reason> {
        colors::check(self.reader.info())?;
        for chunk in chunks(self.bytes) {
            match chunk? {
                (kind, _) if &kind == b"IEND" => return Ok(()),
                (kind, &[a, b, c, d, ..]) if &kind == b"acTL" => {
                    animated(u32::from_be_bytes([a, b, c, d]))?;
                }
                _ => {}
            }
        }
        // The end chunk is missing, but all pixels may be there. The decoder decides.
        Ok(())
    }

    pub fn orientation(&self) -> Option<Orientation> {
        Orientation::from_exif_chunk(self.reader.info().exif_metadata.as_ref()?)
    }

    /// The colour profile, by the first of three kinds of chunks that the file has.
    pub fn profile(&self) -> Option<Vec<u8>> {
        let info = self.reader.info();
        colors::by_code_points(info)
            .or_else(|| self.embedded_profile())
            .or_else(|| colors::by_gamma(info))
    }

    /// The ICC profile. One of too many bytes counts as none.
    fn embedded_profile(&self) -> Option<Vec<u8>> {
        let (_, data) = chunks(self.bytes)
            .map_while(Result::ok)
            .take_while(|(kind, _)| kind != b"IDAT")
            .find(|(kind, _)| kind == b"iCCP")?;
        // A name, a zero and the number of the compression method come first.
        let name = data.iter().position(|&byte| byte == 0)?;
        let deflated = data.get(name + 2..)?;
        let mut profile = vec![];
        let most = MAX_BYTES as u64 + 1;
        ZlibDecoder::new(deflated)
            .take(most)
            .read_to_end(&mut profile)
            .ok()?;
        (profile.len() <= MAX_BYTES).then_some(profile)
    }

    /// Decodes the pixels, with 16-bit samples in the machine's byte order.
    pub fn read(&mut self, pixels: &mut [u8]) -> Result<(), Reason> {
        let size = self.size();
        self.reader
            .next_frame(pixels)
            .map_err(|error| refusal(&error, size, &self.limits))?;
        if self.color.bytes_per_pixel() > self.color.channel_count() {
            for sample in pixels.as_chunks_mut::<2>().0 {
                *sample = u16::from_be_bytes(*sample).to_ne_bytes();
            }
        }
        Ok(())
    }
}

fn refusal(error: &DecodingError, (width, height): (u32, u32), limits: &super::Limits) -> Reason {
    let detail = error.to_string();
    match error {
        DecodingError::LimitsExceeded => Reason::TooLarge {
            width,
            height,
            most_pixels: limits.pixels,
        },
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Reason::Truncated { detail }
        }
        _ => Reason::Undecodable { detail },
    }
}
