//! Ids. Most are derived from what they name, so that doing a thing twice gives the same id
//! and changes nothing.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    invalid::InvalidId, label::Label, location::Location, method::Method,
    settings::TrainingSettings,
};

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
    /// The id of a job: one source of images on its way to a dataset. It is drawn when the
    /// source is enqueued. It is a UUIDv7, so that jobs sort by age.
    JobId, "a job id (a UUID)"
}

impl JobId {
    /// A new id.
    pub fn draw() -> Self {
        Self(Uuid::now_v7())
    }
}

uuid_id! {
    /// The id of a person's request for training. It is drawn when the request is made.
    RequestId, "a request id (a UUID)"
}

impl RequestId {
    /// A new id.
    pub fn draw() -> Self {
        Self(Uuid::now_v7())
    }
}

uuid_id! {
    /// The id of a candidate: one location in one job where an image should be. It is the
    /// UUIDv5 of the location in the job's own namespace.
    CandidateId, "a candidate id (a UUID)"
}

impl CandidateId {
    /// The id of the job's candidate at this location.
    pub fn of(job: JobId, location: &Location) -> Self {
        Self(Uuid::new_v5(&job.0, location.to_string().as_bytes()))
    }

    /// The id of the job's candidate at this location with this label, for lists that give
    /// each line a label of its own. A location that is listed with two labels is two
    /// candidates, whose labels contradict each other. With one id the label that comes
    /// last would win.
    pub fn of_labelled(job: JobId, location: &Location, label: &Label) -> Self {
        // No location contains a line break, so the name is unique.
        let name = format!("{location}\n{label}");
        Self(Uuid::new_v5(&job.0, name.as_bytes()))
    }
}

uuid_id! {
    /// The id of a location, by which the candidates that were found there are looked up. It is
    /// the UUIDv5 of the location.
    LocationId, "a location id (a UUID)"
}

impl LocationId {
    pub fn of(location: &Location) -> Self {
        Self(Uuid::new_v5(
            &Uuid::NAMESPACE_URL,
            location.to_string().as_bytes(),
        ))
    }
}

uuid_id! {
    /// The id of a training run, and of the model that the run publishes. It is the UUIDv5
    /// of dataset, network and settings, so that the same request makes the same run.
    RunId, "a run id (a UUID)"
}

impl RunId {
    /// The id of the run that trains this on this dataset with these settings.
    pub fn of(dataset: &DatasetId, method: impl Into<Method>, settings: &TrainingSettings) -> Self {
        let name = format!("{dataset}/{}/{}", method.into(), settings.canonical());
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
    }
}

impl RunId {
    /// The id of the run of a study's trial. It is none of those of [`Self::of`], so that the
    /// checkpoints and the model of a trial are not those of a run with the same settings.
    pub fn of_trial(study: StudyId, trial: u32) -> Self {
        Self(Uuid::new_v5(&study.0, trial.to_string().as_bytes()))
    }
}

uuid_id! {
    /// The id of a study, which tunes a network. It is the UUIDv5 of all that was asked for, so
    /// that the same request makes the same study.
    StudyId, "a study id (a UUID)"
}

impl StudyId {
    /// The id that is derived from a request in its canonical form.
    pub(crate) fn derived(canonical: &[u8]) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, canonical))
    }
}

macro_rules! sha256_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id of these bytes.
            pub fn of(bytes: &[u8]) -> Self {
                Self(Sha256::digest(bytes).into())
            }

            /// The id with this SHA-256, which was computed while the bytes were read.
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
    /// The id of an image: the SHA-256 of its bytes as they were fetched.
    ImageId, "an image id (a SHA-256 in hexadecimal)"
}

sha256_id! {
    /// The id of a dataset: the SHA-256 of its content, which is images, labels and split.
    DatasetId, "a dataset id (a SHA-256 in hexadecimal)"
}

sha256_id! {
    /// The id of stored weights: the SHA-256 of their file.
    WeightsId, "an id of weights (a SHA-256 in hexadecimal)"
}
