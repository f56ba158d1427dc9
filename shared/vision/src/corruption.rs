//! Damage that photographs have in practice, to measure how well a network bears it.
//!
//! These are kinds of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to
//! Common Corruptions and Perturbations" (2019), with strengths for the small input of a
//! mobile network. Each gives the same picture every time.

use image::{RgbImage, imageops};

use crate::{decode, encode, resize};

/// The standard deviation of the blur, as a share of the image's longer side.
const BLUR: f32 = 0.015;
/// The quality of the JPEG.
const JPEG_QUALITY: u8 = 10;
/// What is left of the light.
const LIGHT: f32 = 0.3;
/// What is left of the resolution.
const RESOLUTION: f32 = 0.3;

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corruption {
    /// Out of focus.
    Blur,
    /// Compressed as a JPEG of poor quality.
    Jpeg,
    /// Taken with too little light.
    Dark,
    /// Shrunk, and enlarged again.
    LowResolution,
}

impl Corruption {
    pub const ALL: [Self; 4] = [Self::Blur, Self::Jpeg, Self::Dark, Self::LowResolution];

    /// A name for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blur => "blur",
            Self::Jpeg => "jpeg",
            Self::Dark => "dark",
            Self::LowResolution => "low_resolution",
        }
    }

    /// What the damage does, for people.
    pub fn description(self) -> String {
        let percent = |share: f32| format!("{:.0} %", share * 100.0);
        match self {
            Self::Blur => "out of focus".to_owned(),
            Self::Jpeg => format!("as JPEGs of quality {JPEG_QUALITY}"),
            Self::Dark => format!("with {} of the light", percent(LIGHT)),
            Self::LowResolution => format!("with {} of the resolution", percent(RESOLUTION)),
        }
    }

    /// A copy of the picture with this damage, of the same size.
    pub fn apply(self, picture: &RgbImage) -> RgbImage {
        let (width, height) = picture.dimensions();
        match self {
            Self::Blur => imageops::blur(picture, BLUR * width.max(height) as f32),
            Self::Jpeg => compressed(picture, JPEG_QUALITY),
            Self::Dark => {
                let mut dark = picture.clone();
                for value in dark.iter_mut() {
                    *value = (f32::from(*value) * LIGHT).round() as u8;
                }
                dark
            }
            Self::LowResolution => {
                let left = |side: u32| ((side as f32 * RESOLUTION).round() as u32).max(1);
                let coarse = resize::stretch(picture, None, left(width), left(height));
                resize::stretch(&coarse, None, width, height)
            }
        }
    }
}

/// The picture as a JPEG of this quality shows it.
pub(crate) fn compressed(picture: &RgbImage, quality: u8) -> RgbImage {
    let jpeg = encode::jpeg(picture, quality);
    let decoded = decode::decode(&jpeg, &decode::Limits::default());
    decoded.map_or_else(|_| picture.clone(), |decoded| decoded.picture)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// Stripes of two pixels.
    fn stripes() -> RgbImage {
        RgbImage::from_fn(96, 64, |x, _| {
            Rgb([if x / 2 % 2 == 0 { 40 } else { 220 }; 3])
        })
    }

    fn mean(picture: &RgbImage) -> f64 {
        picture.iter().map(|&value| f64::from(value)).sum::<f64>() / picture.len() as f64
    }

    /// The mean difference of neighbours in a row.
    fn contrast(picture: &RgbImage) -> f64 {
        let rows = picture.rows().map(|row| {
            let row: Vec<f64> = row.map(|pixel| pixel.0[0].into()).collect();
            row.windows(2)
                .map(|pair| (pair[0] - pair[1]).abs())
                .sum::<f64>()
        });
        rows.sum::<f64>() / f64::from(picture.width() * picture.height())
    }

    #[test]
    fn each_kind_changes_the_picture_and_keeps_its_size() {
        for corruption in Corruption::ALL {
            let corrupted = corruption.apply(&stripes());
            assert_eq!(corrupted.dimensions(), (96, 64));
            assert_ne!(corrupted, stripes(), "{corruption:?}");
            assert_eq!(corrupted, corruption.apply(&stripes()));
            let dot = RgbImage::new(1, 1);
            assert_eq!(corruption.apply(&dot).dimensions(), (1, 1));
        }
    }

    #[test]
    fn blur_and_low_resolution_take_the_details_and_leave_the_light() {
        for corruption in [Corruption::Blur, Corruption::LowResolution] {
            let corrupted = corruption.apply(&stripes());
            assert!(
                contrast(&corrupted) < 0.6 * contrast(&stripes()),
                "{corruption:?}"
            );
            assert!((mean(&corrupted) - mean(&stripes())).abs() < 4.0);
        }
    }

    #[test]
    fn darkness_takes_the_light() {
        let dark = Corruption::Dark.apply(&stripes());
        assert!((mean(&dark) - 0.3 * mean(&stripes())).abs() < 1.0);
    }
}
