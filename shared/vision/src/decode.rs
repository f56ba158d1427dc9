//! Decodes untrusted files to RGB.
//!
//! The first bytes of a file decide its format, never its name. Size and memory are
//! checked against the [`Limits`] from the header alone, before a pixel is decoded.
//! A file of which a part is missing is refused, where a viewer would fill it in, such as the
//! lower half of a JPEG that was cut off. A file that makes a decoder panic counts as one that
//! can't be decoded.

mod bmp;
mod bytes;
mod frames;
mod jpeg;
mod kind;
mod png;
mod profile;
mod rgb;
mod source;
mod tiff;

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{DynamicImage, RgbImage, metadata::Orientation};
use maskline_messages::{Format, Reason};

use kind::Kind;
use source::{Metadata, Source};

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
/// converts CMYK, 16 bit, grey, palette and alpha (over white) to RGB of 8 bit. Colours that
/// an ICC profile describes are converted to sRGB.
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
        let source = Source::open(format, bytes, limits).ok()?;
        source.check_size(limits).ok()?;
        Some(source.memory())
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
    let mut source = Source::open(format, bytes, limits)?;
    source.check_size(limits)?;
    source.check_container()?;
    let Metadata {
        orientation,
        profile,
    } = source.metadata();
    let (width, height, color) = (source.width, source.height, source.color);
    let mut pixels = source.read(limits)?;
    let color = rgb::eight_bits(&mut pixels, color)?;
    if format == Format::Bmp {
        // Many programs leave the fourth byte of a pixel zero, and nobody reads it as alpha.
        rgb::opaque_if_invisible(&mut pixels, color);
    }
    if let Some(profile) = profile {
        profile::to_srgb(&mut pixels, color, &profile);
    }
    let picture = RgbImage::from_raw(width, height, rgb::from(pixels, color));
    let picture = rgb::halved_to(picture.expect("three bytes a pixel"), MAX_SIDE);
    let mut picture = DynamicImage::from(picture);
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

fn is_quarter_turn(orientation: Orientation) -> bool {
    use Orientation as O;
    matches!(
        orientation,
        O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH
    )
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
