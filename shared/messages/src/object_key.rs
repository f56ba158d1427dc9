//! Where an object lies in the object store. Every key that maskline writes has a
//! constructor here, so that the layout of the store is in one place.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{DatasetId, ImageId, RunId},
    invalid::InvalidId,
};

/// Where an object lies in the object store: a relative path of plain segments.
///
/// A key can't leave its store: no empty, `.` or `..` segment, no backslash, only
/// letters, digits and `. _ - =` between the slashes, 512 bytes at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Raw bytes as fetched.
    pub fn raw(image: &ImageId) -> Self {
        Self::by_content("raw", image, "")
    }

    /// The bounded RGB image that the validator made of it, a JPEG.
    pub fn normalized(image: &ImageId) -> Self {
        Self::by_content("normalized", image, ".jpg")
    }

    pub fn dataset(dataset: &DatasetId, file: &str) -> Result<Self, InvalidId> {
        format!("datasets/{dataset}/{file}").parse()
    }

    pub fn run(run: RunId, file: &str) -> Result<Self, InvalidId> {
        format!("runs/{run}/{file}").parse()
    }

    pub fn model(model: RunId, file: &str) -> Result<Self, InvalidId> {
        format!("models/{model}/{file}").parse()
    }

    // Two levels, so that no folder of a million files comes about.
    fn by_content(kind: &str, image: &ImageId, suffix: &str) -> Self {
        let hex = image.to_string();
        Self(format!("{kind}/{}/{hex}{suffix}", &hex[..2]))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-=".contains(c);
        let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.chars().all(plain);
        if text.len() <= 512 && text.split('/').all(segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new(
                text,
                "an object key (plain segments between slashes)",
            ))
        }
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}
