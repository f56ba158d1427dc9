//! Pictures to bytes.

use image::RgbImage;
use jpeg_encoder::{ColorType, Encoder};

/// The picture as a baseline JPEG without metadata, `quality` 1 to 100.
///
/// # Panics
/// If a side is 0 or longer than JPEG can say, 65,535 pixels.
pub fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let (width, height) = picture.dimensions();
    let side = |pixels: u32| u16::try_from(pixels).expect("a side that JPEG can say");
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, quality)
        .encode(picture.as_raw(), side(width), side(height), ColorType::Rgb)
        .expect("memory takes every picture with pixels");
    bytes
}
