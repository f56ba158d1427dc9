//! The fingerprint of a picture, by which other pictures of the same photograph are found.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use thiserror::Error;

/// What of a picture is found again in another crop of the same photograph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The details that stand out most, 12 at most.
    pub details: Vec<Detail>,
    pub thumbnail: Thumbnail,
}

/// A place of a picture that stands out from what is around it, such as an eye, a button or a
/// letter. A part of the same photograph has many of its details, at other places and in another
/// size, but at the same places relative to each other.
///
/// In JSON it is text of 23 hexadecimal digits, because a picture has many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Detail {
    /// A perceptual hash of what is around the place, of 63 bits: the highest bit is 0. A detail
    /// and its mirror image have the same hash.
    pub hash: u64,
    /// Where it is in the normalized picture, in pixels.
    pub x: u8,
    pub y: u8,
    /// Its size: 32 times the logarithm of it to base 2. The size is the standard deviation of the
    /// Gaussian, in pixels of the normalized picture, that fits it.
    pub scale: u8,
    /// Whether the hash is that of the mirror image.
    pub mirrored: bool,
}

/// The luma of a picture, averaged to 8 × 8 values of 4 bits each, row by row.
///
/// In JSON it is text of 64 hexadecimal digits, one for each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbnail([u8; 32]);

/// A text that is no part of a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no {what}: give {wanted}")]
pub struct InvalidFingerprint {
    text: String,
    what: &'static str,
    wanted: &'static str,
}

impl Thumbnail {
    /// The side of a thumbnail, in values.
    pub const SIDE: usize = 8;

    /// The thumbnail with these values, row by row. Of each value only the lowest four bits count.
    pub fn new(values: [[u8; Self::SIDE]; Self::SIDE]) -> Self {
        let values = values.as_flattened();
        Self(std::array::from_fn(|pair| {
            (values[2 * pair] & 15) << 4 | values[2 * pair + 1] & 15
        }))
    }

    /// The values, 0 to 15, row by row.
    pub fn values(&self) -> [[u8; Self::SIDE]; Self::SIDE] {
        std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let pair = self.0[(row * Self::SIDE + column) / 2];
                if column % 2 == 0 {
                    pair >> 4
                } else {
                    pair & 15
                }
            })
        })
    }
}

impl fmt::Display for Thumbnail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|pair| write!(f, "{pair:02x}"))
    }
}

impl FromStr for Thumbnail {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let digits = digits(text, 64)?;
            let mut pairs = [0; 32];
            for (at, pair) in pairs.iter_mut().enumerate() {
                *pair = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
            }
            Some(Self(pairs))
        };
        parse().ok_or_else(|| InvalidFingerprint {
            text: text.to_owned(),
            what: "thumbnail of a picture",
            wanted: "64 hexadecimal digits",
        })
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hash,
            x,
            y,
            scale,
            mirrored,
        } = self;
        let mirrored = u8::from(*mirrored);
        write!(f, "{hash:016x}{x:02x}{y:02x}{scale:02x}{mirrored}")
    }
}

impl FromStr for Detail {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let digits = digits(text, 23)?;
            let byte = |from: usize| u8::from_str_radix(&digits[from..from + 2], 16).ok();
            Some(Self {
                hash: u64::from_str_radix(&digits[..16], 16).ok()?,
                x: byte(16)?,
                y: byte(18)?,
                scale: byte(20)?,
                mirrored: match &digits[22..] {
                    "0" => false,
                    "1" => true,
                    _ => return None,
                },
            })
        };
        parse().ok_or_else(|| InvalidFingerprint {
            text: text.to_owned(),
            what: "detail of a picture",
            wanted: "23 hexadecimal digits, the last of which is 0 or 1",
        })
    }
}

/// The text if it consists of so many hexadecimal digits.
fn digits(text: &str, count: usize) -> Option<&str> {
    let is_digits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digits.then_some(text)
}

impl Serialize for Detail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Detail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Thumbnail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thumbnail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_text_of_23_digits() {
        let detail = Detail {
            hash: 0x7ff0_0000_0000_0001,
            x: 255,
            y: 0,
            scale: 22,
            mirrored: true,
        };
        let json = r#""7ff0000000000001ff00161""#;
        assert_eq!(serde_json::to_string(&detail).unwrap(), json);
        assert_eq!(serde_json::from_str::<Detail>(json).unwrap(), detail);
    }

    #[test]
    fn a_thumbnail_is_text_with_a_digit_for_each_value() {
        let mut values = [[0; 8]; 8];
        values[0] = [0, 1, 2, 3, 12, 13, 14, 15];
        values[7][7] = 9;
        let thumbnail = Thumbnail::new(values);
        assert_eq!(thumbnail.values(), values);
        let json = serde_json::to_string(&thumbnail).unwrap();
        assert!(json.starts_with("\"0123cdef000"), "{json}");
        assert!(json.ends_with("0009\""), "{json}");
        assert_eq!(serde_json::from_str::<Thumbnail>(&json).unwrap(), thumbnail);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "7ff0000000000001ff0016",
            "7ff0000000000001ff00162",
            "7ff0000000000001ff001611",
            "+ff0000000000001ff00161",
            "7ff000000000000éff00161",
        ] {
            let error = text.parse::<Detail>().unwrap_err().to_string();
            assert!(error.contains("give 23 hexadecimal digits"), "{error}");
            let error = text.parse::<Thumbnail>().unwrap_err().to_string();
            assert!(error.contains("give 64 hexadecimal digits"), "{error}");
        }
    }
}
