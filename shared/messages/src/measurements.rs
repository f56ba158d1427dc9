//! The measurements that the validator takes of an image.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray, VariantNames};

use crate::{face::Face, fingerprint::Fingerprint, invalid::UnknownName};

/// The format of an image file, which is recognized by its content.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(
    serialize_all = "snake_case",
    parse_err_ty = UnknownName,
    parse_err_fn = unknown
)]
pub enum Format {
    Jpeg,
    Png,
    Webp,
    Gif,
    Bmp,
    Tiff,
}

fn unknown(text: &str) -> UnknownName {
    UnknownName::new::<Format>(text, "a format of images")
}

impl Format {
    /// All formats.
    pub const ALL: &'static [Self] = <Self as VariantArray>::VARIANTS;

    /// The name in JSON and in datasets.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The measurements of an image that the validator accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurements {
    pub format: Format,
    /// The original's width in pixels, after the EXIF orientation is applied.
    pub width: u32,
    /// The original's height in pixels, after the EXIF orientation is applied.
    pub height: u32,
    /// The number of bytes of the original. `None` in the documents of earlier builds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The picture's 64-bit DCT perceptual hash.
    #[serde(with = "hash_hex")]
    pub phash: u64,
    /// The perceptual hash of the picture's mirror image.
    #[serde(with = "hash_hex")]
    pub phash_mirrored: u64,
    /// Mean of luma, 0 to 1.
    pub brightness: f32,
    /// Standard deviation of luma, 0 to 1.
    pub contrast: f32,
    /// Variance of the Laplacian of luma (0 to 255) at the size that the validator measures
    /// at.
    pub sharpness: f32,
    /// The faces in the picture, the one with the highest score first. `None` means that nobody
    /// looked for them.
    pub faces: Option<Vec<Face>>,
    /// What other crops of the same photograph are found by. `None` in the documents of earlier
    /// builds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
}

// A hash is text of 16 hexadecimal digits, because many readers of JSON take numbers for
// doubles and lose bits.
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
