//! Decodes untrusted files to RGB.
//!
//! The first bytes of a file decide its format, never its name. Size and memory are
//! checked against the [`Limits`] from the header alone, before a pixel is decoded.
//! Missing data that a decoder would silently fill in, such as the lower half of a JPEG
//! that was cut off, is found beforehand; see `decode/jpeg.rs`. A file that makes a decoder
//! panic counts as one that can't be decoded.

mod frames;
mod jpeg;
mod kind;
mod rgb;

use std::{
    error::Error,
    io::{Cursor, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
};

use image::{
    DynamicImage, ImageDecoder, ImageError, RgbImage,
    codecs::{
        bmp::BmpDecoder, gif::GifDecoder, jpeg::JpegDecoder, png::PngDecoder, tiff::TiffDecoder,
        webp::WebPDecoder,
    },
};
use maskline_messages::{Format, Reason};

use kind::Kind;

/// The longest side of a decoded picture. Larger pictures are halved until they fit,
/// because nothing here needs more pixels, and because applying the orientation copies
/// the picture.
pub const MAX_SIDE: u32 = 2048;

/// The limits of decoding a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of the file.
    pub bytes: u64,
    /// The most pixels, width × height.
    pub pixels: u64,
    /// The most bytes of memory that decoding takes at its peak, beside the file's own
    /// bytes.
    pub memory: u64,
}

impl Default for Limits {
    /// Limits for photographs of today's cameras, which need less than 100 MB.
    fn default() -> Self {
        Self {
            bytes: 20 << 20,
            pixels: 25_000_000,
            memory: 88 << 20,
        }
    }
}

/// A decoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The picture as it is shown: upright, and with alpha laid over white. No side is
    /// longer than [`MAX_SIDE`].
    pub picture: RgbImage,
    /// The format by content.
    pub format: Format,
    /// The width of the original in pixels, as it is shown.
    pub width: u32,
    /// The height of the original in pixels, as it is shown.
    pub height: u32,
}

/// Decodes JPEG, PNG, WebP, GIF, BMP or TIFF. It applies the EXIF orientation, and
/// converts CMYK, 16 bit, grey, palette and alpha (over white) to RGB of 8 bit.
///
/// It refuses files over a limit, animations, and files that contain less of the picture
/// than their header says, except that a JPEG may lack its end marker. The error is the
/// reason of a rejection.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded, Reason> {
    let format = format(bytes, limits)?;
    catch_unwind(AssertUnwindSafe(|| decode_as(format, bytes, limits))).unwrap_or_else(|_| {
        Err(Reason::Undecodable {
            detail: "the decoder panicked".to_owned(),
        })
    })
}

/// The bytes of memory that [`decode`] takes for this file, by its header. It is 0 if
/// the header suffices to refuse the file.
pub fn memory(bytes: &[u8], limits: &Limits) -> u64 {
    let header = || {
        let format = format(bytes, limits).ok()?;
        let header = Header::read(format, bytes, limits).ok()?;
        header.check(limits).ok()?;
        Some(header.memory())
    };
    catch_unwind(AssertUnwindSafe(header))
        .ok()
        .flatten()
        .unwrap_or(0)
}

/// The format, or the reason why it can't be decoded.
fn format(bytes: &[u8], limits: &Limits) -> Result<Format, Reason> {
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    let size = bytes.len() as u64;
    if size > limits.bytes {
        return Err(Reason::TooManyBytes {
            bytes: size,
            most: limits.bytes,
        });
    }
    match Kind::of(bytes) {
        Kind::Image(format) => Ok(format),
        Kind::OtherImage(format) => Err(Reason::Unsupported {
            format: format.to_owned(),
        }),
        Kind::NoImage(looks_like) => Err(Reason::NotAnImage {
            looks_like: looks_like.to_owned(),
        }),
    }
}

fn decode_as(format: Format, bytes: &[u8], limits: &Limits) -> Result<Decoded, Reason> {
    let header = Header::read(format, bytes, limits)?;
    header.check(limits)?;
    match format {
        Format::Jpeg => jpeg::check(bytes)?,
        Format::Png => frames::check_png(bytes)?,
        Format::Webp => frames::check_webp(bytes)?,
        Format::Gif => frames::check_gif(bytes)?,
        Format::Bmp | Format::Tiff => {}
    }
    let Header {
        mut decoder,
        width,
        height,
        ..
    } = header;
    // Metadata may be wrong. A picture without a valid orientation stays as it is.
    let orientation = decoder.orientation().ok();
    let color = decoder.color_type();
    let size = usize::try_from(decoder.total_bytes()).expect("within the limit on memory");
    let mut pixels = vec![0; size];
    decoder
        .set_limits(memory_limit(limits))
        .and_then(|()| decoder.read_image_boxed(&mut pixels))
        .map_err(|error| refusal(error, limits, width, height))?;
    let pixels = rgb::from(pixels, color)?;
    let picture = RgbImage::from_raw(width, height, pixels).expect("three bytes a pixel");
    let mut picture = DynamicImage::from(rgb::halved_to(picture, MAX_SIDE));
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    let picture = picture.into_rgb8();
    let turned = orientation.is_some_and(is_quarter_turn);
    let (width, height) = if turned {
        (height, width)
    } else {
        (width, height)
    };
    Ok(Decoded {
        picture,
        format,
        width,
        height,
    })
}

fn is_quarter_turn(orientation: image::metadata::Orientation) -> bool {
    use image::metadata::Orientation as O;
    matches!(
        orientation,
        O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH
    )
}

/// The contents of the header, before a pixel is decoded.
struct Header<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    /// The size as stored, before the orientation is applied.
    width: u32,
    height: u32,
    /// The bytes of memory that decoding takes for each pixel.
    per_pixel: u64,
}

impl<'a> Header<'a> {
    fn read(format: Format, bytes: &'a [u8], limits: &Limits) -> Result<Self, Reason> {
        // Some decoders do not say what the size is when it is too large, so it is read
        // first.
        let (announced, coefficients) = match format {
            Format::Jpeg => {
                let frame = jpeg::Frame::of(bytes)?;
                (frame.size(), frame.coefficient_bytes_per_pixel())
            }
            Format::Png => (frames::png_size(bytes)?, 0),
            _ => ((0, 0), 0),
        };
        check_size(announced, limits.pixels)?;
        let decoder = decoder(format, bytes, limits).map_err(|error| {
            let (width, height) = announced;
            let precise = match format {
                Format::Jpeg => jpeg::check(bytes).err(),
                _ => None,
            };
            precise.unwrap_or_else(|| refusal(error, limits, width, height))
        })?;
        let (width, height) = decoder.dimensions();
        let stored = u64::from(decoder.color_type().bytes_per_pixel());
        // Pixels of fewer than three bytes are converted to RGB in a copy, others in place.
        let converted = if stored < 3 { 3 } else { 0 };
        let working = match format {
            Format::Jpeg => coefficients,
            Format::Png | Format::Bmp => 0,
            Format::Gif => 1,
            // The decoder has planes of luma and chroma in memory, or the lossless picture.
            Format::Webp => 4,
            // The decoder has the picture in memory once more.
            Format::Tiff => stored + 1,
        };
        Ok(Self {
            decoder,
            width,
            height,
            per_pixel: stored + converted + working,
        })
    }

    fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    fn memory(&self) -> u64 {
        self.pixels().saturating_mul(self.per_pixel)
    }

    fn check(&self, limits: &Limits) -> Result<(), Reason> {
        if self.pixels() == 0 {
            return Err(Reason::Undecodable {
                detail: "a picture without pixels".to_owned(),
            });
        }
        let most_pixels = limits.pixels.min(limits.memory / self.per_pixel);
        check_size((self.width, self.height), most_pixels)
    }
}

fn check_size((width, height): (u32, u32), most_pixels: u64) -> Result<(), Reason> {
    if u64::from(width) * u64::from(height) > most_pixels {
        return Err(Reason::TooLarge {
            width,
            height,
            most_pixels,
        });
    }
    Ok(())
}

fn decoder<'a>(
    format: Format,
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<Box<dyn ImageDecoder + 'a>, ImageError> {
    let bytes = Cursor::new(bytes);
    Ok(match format {
        Format::Jpeg => Box::new(JpegDecoder::new(bytes)?),
        Format::Png => Box::new(PngDecoder::with_limits(bytes, memory_limit(limits))?),
        Format::Webp => Box::new(WebPDecoder::new(bytes)?),
        Format::Gif => Box::new(GifDecoder::new(bytes)?),
        Format::Bmp => Box::new(BmpDecoder::new(bytes)?),
        Format::Tiff => Box::new(TiffDecoder::new(bytes)?),
    })
}

fn memory_limit(limits: &Limits) -> image::Limits {
    let mut decoding = image::Limits::no_limits();
    decoding.max_alloc = Some(limits.memory);
    decoding
}

/// The reason of the rejection for a decoder's error.
fn refusal(error: ImageError, limits: &Limits, width: u32, height: u32) -> Reason {
    let detail = || error.to_string();
    match &error {
        ImageError::Unsupported(_) => Reason::Unsupported { format: detail() },
        ImageError::Limits(_) => Reason::TooLarge {
            width,
            height,
            most_pixels: limits.pixels,
        },
        _ if is_early_end(&error) => Reason::Truncated { detail: detail() },
        _ => Reason::Undecodable { detail: detail() },
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
