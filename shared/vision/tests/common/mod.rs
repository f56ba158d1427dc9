//! What the tests of decoding have in common.

#![allow(dead_code, reason = "not every test needs all of it")]

use image::RgbImage;
use maskline_vision::{Decoded, Limits, decode};

pub fn decoded(bytes: &[u8]) -> Decoded {
    decode(bytes, &Limits::default()).unwrap()
}

/// The code of the reason for which a file is refused, or "accepted".
pub fn code(bytes: &[u8]) -> &'static str {
    match decode(bytes, &Limits::default()) {
        Ok(_) => "accepted",
        Err(reason) => reason.code(),
    }
}

/// The reason for which a file is refused, in words.
pub fn refused(bytes: &[u8]) -> String {
    decode(bytes, &Limits::default()).unwrap_err().to_string()
}

/// The mean absolute difference of the channels' values.
pub fn distance(one: &RgbImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let sum: u64 = one
        .iter()
        .zip(other.iter())
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    sum as f64 / one.len() as f64
}
