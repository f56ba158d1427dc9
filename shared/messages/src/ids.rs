//! Names that are derived, not drawn, so that doing a thing twice changes nothing.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use crate::{message::NetworkName, source::Location};

/// A text that is no id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidId {
    pub text: String,
    pub expected: &'static str,
}

impl InvalidId {
    fn new(text: &str, expected: &'static str) -> Self {
        let text = text.chars().take(80).collect();
        Self { text, expected }
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidId::new(text, $expected))
            }
        }
    };
}

uuid_id! {
    /// One source of images on its way to a dataset. Drawn once, by whoever
    /// enqueues it (UUIDv7, so that jobs sort by age).
    JobId, "a job id (a UUID)"
}

impl JobId {
    pub fn draw() -> Self {
        Self(Uuid::now_v7())
    }
}

uuid_id! {
    /// One place in one job where an image is said to be: UUIDv5 of the source
    /// URL or path in the job's own namespace.
    CandidateId, "a candidate id (a UUID)"
}

impl CandidateId {
    pub fn of(job: JobId, location: &Location) -> Self {
        Self(Uuid::new_v5(&job.0, location.to_string().as_bytes()))
    }

    /// Where a list gives each line a label of its own: a place that is listed
    /// twice with different labels is two candidates, whose labels contradict each
    /// other, and not one whose label is that of whoever came last.
    pub fn of_labelled(job: JobId, location: &Location, label: &Label) -> Self {
        // No location has a line break.
        let name = format!("{location}\n{label}");
        Self(Uuid::new_v5(&job.0, name.as_bytes()))
    }
}

uuid_id! {
    /// One training run: UUIDv5 of dataset, network and settings, so that the
    /// same request makes the same run. The model it publishes has the same id.
    RunId, "a run id (a UUID)"
}

impl RunId {
    /// `settings` is the canonical JSON of what the run was asked for.
    pub fn of(dataset: &DatasetId, network: NetworkName, settings: &str) -> Self {
        let name = format!("{dataset}/{network}/{settings}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
    }
}

macro_rules! sha256_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            pub fn of(bytes: &[u8]) -> Self {
                Self(Sha256::digest(bytes).into())
            }

            /// From a digest that was computed while streaming.
            pub fn from_digest(digest: [u8; 32]) -> Self {
                Self(digest)
            }

            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let mut digest = [0; 32];
                hex::decode_to_slice(text, &mut digest)
                    .map_err(|_| InvalidId::new(text, $expected))?;
                Ok(Self(digest))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

sha256_id! {
    /// The SHA-256 of an image's bytes as the web gave them.
    ImageId, "an image id (a SHA-256 in hexadecimal)"
}

sha256_id! {
    /// The SHA-256 of a dataset's content: images, labels, split.
    DatasetId, "a dataset id (a SHA-256 in hexadecimal)"
}

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

/// A class's name, such as `with_mask`: 1 to 64 letters, digits, `_`, `-` or `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

impl Label {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Label {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let sane = (1..=64).contains(&text.len()) && !text.starts_with('.');
        if sane && text.chars().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new(
                text,
                "a label (1 to 64 letters, digits, `_`, `-` or `.`)",
            ))
        }
    }
}

impl TryFrom<String> for Label {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}
