//! Validates the bytes of an image, without any store.

use image::RgbImage;
use maskline_faces::FaceDetector;
use maskline_messages::{Measurements, Reason};
use maskline_vision::{Limits, decode, encode, fingerprint::fingerprint, measure::measure};
use serde::{Deserialize, Serialize};

use crate::{checks, limits::LimitArgs};

/// The quality of the normalized JPEG. It is a constant, because an image's normalized
/// object is named by its raw bytes alone and must not depend on settings.
const QUALITY: u8 = 92;

/// The most bytes of a file: as many as a scraper can be configured to fetch.
const MAX_BYTES: u64 = 1 << 30;

/// An image that passed all checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The normalized picture: upright, RGB, 256 pixels on its longest side at most.
    pub picture: RgbImage,
    pub measurements: Measurements,
}

impl Accepted {
    /// Encodes the normalized picture, without metadata. The same picture gives the same
    /// bytes.
    pub fn jpeg(&self) -> Vec<u8> {
        encode::jpeg(&self.picture, QUALITY)
    }
}

/// An image that did not pass, or a file that is no image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    pub reason: Reason,
    /// The measurements, if the bytes could be decoded.
    pub measurements: Option<Box<Measurements>>,
}

/// Decodes and measures the bytes of an image, checks the measurements against
/// `limits`, and normalizes the picture. An accepted picture gets its fingerprint. If there is a
/// detector, it looks for the faces in it.
pub fn validate(
    bytes: &[u8],
    limits: &LimitArgs,
    detector: Option<&FaceDetector>,
) -> Result<Accepted, Rejected> {
    let decoded = decode(bytes, &decoder_limits(limits)).map_err(|reason| Rejected {
        reason,
        measurements: None,
    })?;
    let (picture, mut measurements) = measure(&decoded);
    measurements.bytes = Some(bytes.len() as u64);
    match checks::first_reason(&measurements, limits) {
        Some(reason) => Err(Rejected {
            reason,
            measurements: Some(measurements.into()),
        }),
        None => {
            measurements.fingerprint = Some(fingerprint(&picture));
            measurements.faces = detector.map(|detector| detector.detect(&picture));
            Ok(Accepted {
                picture,
                measurements,
            })
        }
    }
}

/// The limits for the decoder.
pub(crate) fn decoder_limits(limits: &LimitArgs) -> Limits {
    Limits {
        bytes: MAX_BYTES,
        pixels: u64::from(limits.max_megapixels) * 1_000_000,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn code(picture: &RgbImage) -> &'static str {
        let bytes = encode::jpeg(picture, 90);
        match validate(&bytes, &LimitArgs::DEFAULT, None) {
            Ok(_) => "accepted",
            Err(rejected) => rejected.reason.code(),
        }
    }

    /// A checkerboard of `light` on `dark`, which has sharp edges.
    fn checkered(width: u32, height: u32, dark: u8, light: u8) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([if (x / 9 + y / 7) % 2 == 0 {
                dark
            } else {
                light
            }; 3])
        })
    }

    #[test]
    fn each_kind_of_unfit_picture_is_rejected_for_its_reason() {
        let good = checkered(200, 160, 40, 210);
        let ramp = RgbImage::from_fn(200, 160, |x, _| Rgb([x as u8; 3]));
        let cases = [
            ("accepted", good),
            ("too_small", checkered(60, 20, 40, 210)),
            ("extreme_aspect", checkered(600, 60, 40, 210)),
            ("too_dark", checkered(200, 160, 0, 9)),
            ("too_bright", checkered(200, 160, 250, 255)),
            ("blank", RgbImage::from_pixel(200, 160, Rgb([130; 3]))),
            ("blurred", ramp),
        ];
        for (expected, picture) in cases {
            assert_eq!(code(&picture), expected);
        }
        let Err(rejected) = validate(b"<html>", &LimitArgs::DEFAULT, None) else {
            panic!("an HTML page was accepted");
        };
        assert_eq!(rejected.reason.code(), "not_an_image");
    }

    #[test]
    fn an_accepted_picture_is_shrunk_and_measured() {
        let bytes = encode::jpeg(&checkered(1024, 512, 40, 210), 90);
        let accepted = validate(&bytes, &LimitArgs::DEFAULT, None).unwrap();
        assert_eq!(accepted.picture.dimensions(), (256, 128));
        let expected = fingerprint(&accepted.picture);
        assert_eq!(accepted.measurements.fingerprint, Some(expected));
        assert_eq!(
            (accepted.measurements.width, accepted.measurements.height),
            (1024, 512)
        );
        assert_eq!(
            accepted.jpeg(),
            validate(&bytes, &LimitArgs::DEFAULT, None).unwrap().jpeg()
        );
    }

    #[test]
    fn a_lower_limit_on_pixels_is_checked_before_decoding() {
        let bytes = encode::jpeg(&checkered(1200, 1000, 40, 210), 50);
        let limits = LimitArgs {
            max_megapixels: 1,
            ..LimitArgs::DEFAULT
        };
        let rejected = validate(&bytes, &limits, None).unwrap_err();
        let expected = Reason::TooLarge {
            width: 1200,
            height: 1000,
            most_pixels: 1_000_000,
        };
        assert_eq!((rejected.reason, rejected.measurements), (expected, None));
    }
}
