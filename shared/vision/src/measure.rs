//! What is measured on a picture, always at working size, so that the same
//! picture in more pixels measures the same.

use image::RgbImage;
use maskline_messages::Measurements;

use crate::{decode::Decoded, hash, resize};

/// The longest side at which pictures are measured, in pixels. Smaller pictures
/// are measured as they are.
pub const WORKING_SIDE: u32 = 256;

/// Measures a decoded picture.
pub fn measure(decoded: &Decoded) -> Measurements {
    let working = resize::bounded(&decoded.picture, WORKING_SIDE);
    measure_working(&working, decoded)
}

/// Measures a picture that is at working size already: `working` is
/// [`bounded`](resize::bounded) to [`WORKING_SIDE`] from `decoded`.
pub fn measure_working(working: &RgbImage, decoded: &Decoded) -> Measurements {
    let luma = Luma::of(working);
    let (mean, deviation) = luma.mean_and_deviation();
    let hashes = hash::hashes(&luma);
    Measurements {
        format: decoded.format,
        width: decoded.width,
        height: decoded.height,
        phash: hashes.straight,
        phash_mirrored: hashes.mirrored,
        brightness: (mean / 255.0) as f32,
        contrast: (deviation / 255.0) as f32,
        sharpness: luma.sharpness() as f32,
    }
}

/// The luma of a picture (ITU-R BT.601, 0–255), row by row.
pub struct Luma {
    pub width: usize,
    pub height: usize,
    pub values: Vec<u8>,
}

impl Luma {
    pub fn of(picture: &RgbImage) -> Self {
        let luma = |pixel: &[u8]| {
            let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            ((19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16) as u8
        };
        Self {
            width: picture.width() as usize,
            height: picture.height() as usize,
            values: picture.as_raw().chunks_exact(3).map(luma).collect(),
        }
    }

    /// Mean and standard deviation, 0–255.
    fn mean_and_deviation(&self) -> (f64, f64) {
        moments(self.values.iter().map(|&value| i64::from(value)))
    }

    /// The variance of the Laplacian (the four neighbours less four times the
    /// pixel) over the inner pixels: little where no edge is sharp. After Pech-Pacheco
    /// et al., "Diatom autofocusing in brightfield microscopy" (2000).
    fn sharpness(&self) -> f64 {
        if self.width < 3 || self.height < 3 {
            return 0.0;
        }
        let rows: Vec<&[u8]> = self.values.chunks_exact(self.width).collect();
        let laplacian = rows.windows(3).flat_map(|rows| {
            (1..self.width - 1).map(move |x| {
                let at = |row: &[u8], x: usize| i64::from(row[x]);
                at(rows[0], x) + at(rows[2], x) + at(rows[1], x - 1) + at(rows[1], x + 1)
                    - 4 * at(rows[1], x)
            })
        });
        moments(laplacian).1.powi(2)
    }
}

/// Mean and standard deviation. The sums are whole numbers, so their order does
/// not matter.
fn moments(values: impl Iterator<Item = i64>) -> (f64, f64) {
    let (mut count, mut sum, mut squares) = (0i64, 0i64, 0i64);
    for value in values {
        count += 1;
        sum += value;
        squares += value * value;
    }
    if count == 0 {
        return (0.0, 0.0);
    }
    let mean = sum as f64 / count as f64;
    let variance = squares as f64 / count as f64 - mean * mean;
    (mean, variance.max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use image::{Rgb, imageops};
    use maskline_messages::Format;

    use super::*;

    fn measured(picture: RgbImage) -> Measurements {
        let (width, height) = picture.dimensions();
        measure(&Decoded {
            picture,
            format: Format::Png,
            width,
            height,
        })
    }

    fn stripes(side: u32, light: u8) -> RgbImage {
        RgbImage::from_fn(side, side, |x, _| {
            Rgb([if x / 8 % 2 == 0 { 0 } else { light }; 3])
        })
    }

    #[test]
    fn brightness_and_contrast_are_shares_of_the_full_range() {
        let white = measured(RgbImage::from_pixel(20, 10, Rgb([255; 3])));
        assert_eq!(
            (white.brightness, white.contrast, white.sharpness),
            (1.0, 0.0, 0.0)
        );
        assert_eq!((white.width, white.height), (20, 10));
        let half = measured(stripes(64, 255));
        assert!((half.brightness - 0.5).abs() < 1e-6);
        assert!((half.contrast - 0.5).abs() < 1e-6);
    }

    #[test]
    fn blur_takes_the_sharpness_and_leaves_the_brightness() {
        let sharp = measured(stripes(128, 200));
        let blurred = measured(imageops::blur(&stripes(128, 200), 3.0));
        assert!(blurred.sharpness < sharp.sharpness / 20.0);
        assert!((blurred.brightness - sharp.brightness).abs() < 0.02);
    }

    #[test]
    fn more_pixels_of_the_same_measure_about_the_same() {
        let small = measured(imageops::blur(&stripes(256, 200), 2.0));
        let large = imageops::resize(
            &imageops::blur(&stripes(256, 200), 2.0),
            1024,
            1024,
            imageops::FilterType::CatmullRom,
        );
        let large = measured(large);
        assert!((large.sharpness / small.sharpness - 1.0).abs() < 0.2);
        assert!((large.contrast - small.contrast).abs() < 0.02);
    }
}
