//! Drawn faces with and without a mask, and files that are no sound images.

use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, imageops};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Draws a face of `side` pixels in height and width on a background of rectangles. A
/// mask is a coloured band over its lower half. The same seed draws the same picture.
pub fn face(seed: u64, masked: bool, side: u32) -> RgbImage {
    face_and_head(seed, masked, side).0
}

/// Draws what [`face`] draws, and returns the box around the head, too: its left, top, width and
/// height in pixels.
pub fn face_and_head(seed: u64, masked: bool, side: u32) -> (RgbImage, [f32; 4]) {
    let random = &mut StdRng::seed_from_u64(seed * 2 + u64::from(masked));
    let mut picture = background(side, random);
    let size = side as f32;
    let centre = (
        size * random.random_range(0.4..0.6),
        size * random.random_range(0.4..0.6),
    );
    let (across, down) = (
        size * random.random_range(0.22..0.34),
        size * random.random_range(0.28..0.40),
    );
    let light = random.random_range(0.5..1.0);
    let skin = Rgb([240.0, 190.0, 150.0].map(|channel: f32| (channel * light) as u8));
    let blue = random.random_range(180..250);
    let mask = Rgb([random.random_range(60..140), blue - 40, blue]);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let u = (x as f32 - centre.0) / across;
        let v = (y as f32 - centre.1) / down;
        if u * u + v * v > 1.0 {
            continue;
        }
        let eye = (u.abs() - 0.4).hypot((v + 0.25) * 1.5) < 0.13;
        let mouth = u.abs() < 0.35 && (v - 0.5).abs() < 0.06;
        *pixel = match () {
            _ if masked && v > 0.1 => mask,
            _ if eye => Rgb([25, 20, 20]),
            _ if mouth => Rgb([150, 40, 50]),
            _ => skin,
        };
    }
    grain(&mut picture, random);
    let head = [centre.0 - across, centre.1 - down, 2.0 * across, 2.0 * down];
    (picture, head)
}

/// Rectangles in random colours, so that no two pictures have similar perceptual hashes.
fn background(side: u32, random: &mut StdRng) -> RgbImage {
    let mut picture = RgbImage::from_pixel(side, side, tone(random, 40..220));
    for _ in 0..12 {
        let colour = tone(random, 20..240);
        let (left, top) = (random.random_range(0..side), random.random_range(0..side));
        let (width, height) = (
            random.random_range(side / 6..side / 2),
            random.random_range(side / 6..side / 2),
        );
        for y in top..(top + height).min(side) {
            for x in left..(left + width).min(side) {
                picture.put_pixel(x, y, colour);
            }
        }
    }
    picture
}

fn tone(random: &mut StdRng, range: std::ops::Range<u8>) -> Rgb<u8> {
    Rgb(std::array::from_fn(|_| random.random_range(range.clone())))
}

/// Adds noise like a camera's.
fn grain(picture: &mut RgbImage, random: &mut StdRng) {
    for channel in picture.iter_mut() {
        *channel = channel.saturating_add_signed(random.random_range(-12..=12));
    }
}

pub fn mirrored(picture: &RgbImage) -> RgbImage {
    imageops::flip_horizontal(picture)
}

pub fn blurred(picture: &RgbImage) -> RgbImage {
    imageops::fast_blur(picture, 12.0)
}

pub fn blank(side: u32) -> RgbImage {
    RgbImage::from_pixel(side, side, Rgb([128, 120, 110]))
}

/// The picture at twelve times its height in width.
pub fn strip(picture: &RgbImage) -> RgbImage {
    imageops::resize(picture, 1200, 100, imageops::FilterType::Triangle)
}

pub fn jpeg(picture: &RgbImage) -> Bytes {
    encoded(picture, ImageFormat::Jpeg)
}

pub fn png(picture: &RgbImage) -> Bytes {
    encoded(picture, ImageFormat::Png)
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Bytes {
    let mut bytes = Cursor::new(vec![]);
    let picture = DynamicImage::from(picture.clone());
    let written = picture.write_to(&mut bytes, format);
    written.expect("memory takes every picture");
    bytes.into_inner().into()
}

/// The first two fifths of a file.
pub fn cut_short(file: &Bytes) -> Bytes {
    file.slice(..file.len() * 2 / 5)
}
