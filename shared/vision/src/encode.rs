//! Encodes pictures.

use image::RgbImage;
use jpeg_encoder::{ColorType, Encoder};

/// Encodes the picture as a baseline JPEG without metadata. `quality` is 1 to 100.
///
/// # Panics
/// Panics if a side is 0 or longer than 65,535 pixels, the most that JPEG allows.
pub fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let (width, height) = picture.dimensions();
    let side = |pixels: u32| u16::try_from(pixels).expect("a side that JPEG allows");
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, quality)
        .encode(picture.as_raw(), side(width), side(height), ColorType::Rgb)
        .expect("a picture with pixels can be written to memory");
    bytes
}
