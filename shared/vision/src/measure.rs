//! The measurements of a picture. They are taken at a working size, so that the same
//! picture measures the same whatever its number of pixels.

use image::RgbImage;
use maskline_messages::Measurements;

use crate::{decode::Decoded, hash, luma::Luma, resize};

/// The longest side at which pictures are measured, in pixels. Smaller pictures are
/// measured as they are.
const WORKING_SIDE: u32 = 256;

/// Measures a decoded picture. Returns the picture at working size, 256 pixels on its
/// longest side at most, and its measurements, without the faces and the fingerprint.
pub fn measure(decoded: &Decoded) -> (RgbImage, Measurements) {
    let working = resize::bounded(&decoded.picture, WORKING_SIDE);
    let luma = Luma::of(&working);
    let (mean, deviation) = luma.mean_and_deviation();
    let hashes = hash::hashes(&luma);
    let measurements = Measurements {
        format: decoded.format,
        width: decoded.width,
        height: decoded.height,
        bytes: None,
        phash: hashes.straight,
        phash_mirrored: hashes.mirrored,
        brightness: (mean / 255.0) as f32,
        contrast: (deviation / 255.0) as f32,
        sharpness: luma.sharpness() as f32,
        faces: None,
        fingerprint: None,
    };
    (working, measurements)
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
        .1
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
    fn blur_lowers_the_sharpness_and_keeps_the_brightness() {
        let sharp = measured(stripes(128, 200));
        let blurred = measured(imageops::blur(&stripes(128, 200), 3.0));
        assert!(blurred.sharpness < sharp.sharpness / 20.0);
        assert!((blurred.brightness - sharp.brightness).abs() < 0.02);
    }

    #[test]
    fn an_enlarged_picture_measures_about_the_same() {
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
