//! What the validator measures on an image.

use serde::{Deserialize, Serialize};

/// Image formats, by content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Jpeg,
    Png,
    Webp,
    Gif,
    Bmp,
    Tiff,
}

/// What the validator measured on an image that it accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurements {
    pub format: Format,
    /// Pixels of the original as shown (after EXIF orientation).
    pub width: u32,
    pub height: u32,
    /// 64-bit DCT perceptual hash of the picture, and of its mirror image.
    #[serde(with = "hash_hex")]
    pub phash: u64,
    #[serde(with = "hash_hex")]
    pub phash_mirrored: u64,
    /// Mean of luma, 0 to 1.
    pub brightness: f32,
    /// Standard deviation of luma, 0 to 1.
    pub contrast: f32,
    /// Variance of the Laplacian of luma (0–255) at working size.
    pub sharpness: f32,
}

// 16 hexadecimal digits: JSON numbers are doubles to many readers, and lose bits.
mod hash_hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{hash:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
