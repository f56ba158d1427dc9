//! A file whose header has been read: what is checked before a pixel is decoded, and the
//! decoder of its format.

use std::{
    error::Error,
    io::{Cursor, ErrorKind},
};

use image::{
    ColorType, ImageDecoder, ImageError,
    codecs::{bmp::BmpDecoder, gif::GifDecoder, webp::WebPDecoder},
    error::{ImageFormatHint, UnsupportedErrorKind},
    metadata::Orientation,
};
use maskline_messages::{Format, Reason};

use super::{Limits, bmp, check_size, frames, jpeg::Jpeg, png, png::Png, profile, tiff};

/// A file and the decoder of its format.
pub struct Source<'a> {
    bytes: &'a [u8],
    format: Format,
    decoder: Decoder<'a>,
    /// The size as stored, before the orientation is applied.
    pub width: u32,
    pub height: u32,
    /// What the pixels are decoded to.
    pub color: ColorType,
    /// The bytes of memory that decoding takes for each pixel, and beside the pixels.
    memory: (u64, u64),
}

enum Decoder<'a> {
    Jpeg(Jpeg<'a>),
    Png(Box<Png<'a>>),
    Jpegs(tiff::Jpegs<'a>),
    Other(Box<dyn ImageDecoder + 'a>),
}

/// What a file says of its pixels. Metadata that is damaged counts as missing.
pub struct Metadata {
    pub orientation: Option<Orientation>,
    /// The ICC profile of the colours.
    pub profile: Option<Vec<u8>>,
}

impl<'a> Source<'a> {
    /// Reads the header of a file.
    pub fn open(format: Format, bytes: &'a [u8], limits: &Limits) -> Result<Self, Reason> {
        let other = |decoder: Result<Box<dyn ImageDecoder + 'a>, ImageError>| {
            let decoder = decoder.map(Decoder::Other);
            decoder.map_err(|error| refusal(error, limits, (0, 0)))
        };
        let file = Cursor::new(bytes);
        let decoder = match format {
            Format::Jpeg => Decoder::Jpeg(Jpeg::open(bytes)?),
            Format::Png => {
                // The decoder does not say what the size is when it is too large.
                check_size(png::size(bytes)?, limits.pixels)?;
                Decoder::Png(Box::new(Png::open(bytes, limits)?))
            }
            Format::Webp => other(WebPDecoder::new(file).map(|d| Box::new(d) as _))?,
            Format::Gif => other(GifDecoder::new(file).map(|d| Box::new(d) as _))?,
            Format::Bmp => other(BmpDecoder::new(file).map(|d| Box::new(d) as _))?,
            Format::Tiff => match tiff::open(bytes, limits)? {
                Ok(tiff::Tiff::Jpegs(jpegs)) => Decoder::Jpegs(jpegs),
                Ok(tiff::Tiff::Other(decoder)) => Decoder::Other(decoder),
                Err(error) => return Err(refusal(error, limits, (0, 0))),
            },
        };
        let ((width, height), color) = match &decoder {
            Decoder::Jpeg(jpeg) => (jpeg.size(), jpeg.color()),
            Decoder::Png(png) => (png.size(), png.color()),
            Decoder::Jpegs(jpegs) => (jpegs.size(), jpegs.color()),
            Decoder::Other(other) => (other.dimensions(), other.color_type()),
        };
        let stored = u64::from(color.bytes_per_pixel());
        // Pixels of fewer than three bytes are converted to RGB in a copy, others in place.
        let converted = if color.channel_count() < 3 { 3 } else { 0 };
        let (working, beside) = match (&decoder, format) {
            (Decoder::Jpeg(jpeg), _) => jpeg.working_memory(),
            (Decoder::Jpegs(jpegs), _) => (0, jpegs.working_memory()),
            (_, Format::Gif) => (1, 0),
            // The decoder has planes of luma and chroma in memory, or the lossless picture.
            (_, Format::Webp) => (4, 0),
            // The decoder has the picture in memory once more.
            (_, Format::Tiff) => (stored + 1, 0),
            _ => (0, 0),
        };
        Ok(Self {
            bytes,
            format,
            decoder,
            width,
            height,
            color,
            memory: (stored + converted + working, beside),
        })
    }

    /// The bytes of memory that decoding takes.
    pub fn memory(&self) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let (per_pixel, beside) = self.memory;
        pixels.saturating_mul(per_pixel).saturating_add(beside)
    }

    /// Checks the size by the limits.
    pub fn check_size(&self, limits: &Limits) -> Result<(), Reason> {
        if self.width == 0 || self.height == 0 {
            return Err(Reason::Undecodable {
                detail: "a picture without pixels".to_owned(),
            });
        }
        let (per_pixel, beside) = self.memory;
        let most = limits.memory.saturating_sub(beside) / per_pixel;
        check_size((self.width, self.height), limits.pixels.min(most))
    }

    /// Checks that the file has one picture, and all of it, as far as the container says.
    pub fn check_container(&self) -> Result<(), Reason> {
        match (&self.decoder, self.format) {
            (Decoder::Png(png), _) => png.check(),
            (_, Format::Webp) => frames::check_webp(self.bytes, (self.width, self.height)),
            (_, Format::Gif) => frames::check_gif(self.bytes),
            _ => Ok(()),
        }
    }

    pub fn metadata(&mut self) -> Metadata {
        let mut metadata = match &mut self.decoder {
            Decoder::Jpeg(jpeg) => Metadata {
                orientation: jpeg.orientation(),
                profile: jpeg.profile(),
            },
            Decoder::Png(png) => Metadata {
                orientation: png.orientation(),
                profile: png.profile(),
            },
            Decoder::Jpegs(jpegs) => Metadata {
                orientation: jpegs.orientation,
                profile: jpegs.profile.take(),
            },
            Decoder::Other(other) => Metadata {
                orientation: other.orientation().ok(),
                profile: match self.format {
                    Format::Bmp => bmp::profile(self.bytes),
                    _ => other.icc_profile().ok().flatten(),
                },
            },
        };
        metadata.profile = metadata
            .profile
            .filter(|profile| profile.len() <= profile::MAX_BYTES);
        metadata
    }

    /// Decodes the pixels, which have the colour type that the header says.
    pub fn read(self, limits: &Limits) -> Result<Vec<u8>, Reason> {
        let size = u64::from(self.width)
            * u64::from(self.height)
            * u64::from(self.color.bytes_per_pixel());
        let mut pixels = vec![0; usize::try_from(size).expect("within the limit on memory")];
        match self.decoder {
            Decoder::Jpeg(jpeg) => jpeg.read(limits.memory, &mut pixels)?,
            Decoder::Png(mut png) => png.read(&mut pixels)?,
            Decoder::Jpegs(jpegs) => jpegs.read(limits.memory, &mut pixels)?,
            Decoder::Other(mut other) => {
                let mut most = image::Limits::no_limits();
                most.max_alloc = Some(limits.memory);
                other
                    .set_limits(most)
                    .and_then(|()| other.read_image_boxed(&mut pixels))
                    .map_err(|error| refusal(error, limits, (self.width, self.height)))?;
            }
        }
        Ok(pixels)
    }
}

/// The reason of the rejection for a decoder's error.
fn refusal(error: ImageError, limits: &Limits, (width, height): (u32, u32)) -> Reason {
    let detail = error.to_string();
    match &error {
        ImageError::Unsupported(unsupported) => {
            let format = match unsupported.format_hint() {
                ImageFormatHint::Exact(format) => format!("{format:?}"),
                hint => hint.to_string(),
            };
            Reason::Unsupported {
                format: match unsupported.kind() {
                    UnsupportedErrorKind::Color(color) => format!("{format} of {color:?} pixels"),
                    UnsupportedErrorKind::GenericFeature(what) => {
                        format!("{format} ({})", what.trim_end_matches(" is not supported"))
                    }
                    _ => format,
                },
            }
        }
        ImageError::Limits(_) => Reason::TooLarge {
            width,
            height,
            most_pixels: limits.pixels,
        },
        _ if is_early_end(&error) => Reason::Truncated { detail },
        _ => Reason::Undecodable { detail },
    }
}

fn is_early_end(error: &ImageError) -> bool {
    let io = |error: &std::io::Error| error.kind() == ErrorKind::UnexpectedEof;
    if let ImageError::IoError(error) = error {
        return io(error);
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(io) {
            return true;
        }
        cause = error.source();
    }
    false
}
