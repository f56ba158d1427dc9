//! Names that are derived, not drawn, so that doing a thing twice changes nothing.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{invalid::InvalidId, label::Label, location::Location, network::NetworkName};

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
