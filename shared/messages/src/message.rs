//! All messages, and the JSON that they travel as.
//!
//! A message's body is one JSON object: `schema` (this crate's [`SCHEMA`]), `type`
//! (the message's name in snake case) and the message's fields. A reader ignores fields
//! that it does not know. A body with another schema, another type or broken JSON is
//! [`Malformed`], which the runner sends to the dead letters.
//!
//! Messages carry references, never pixels.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ids::{CandidateId, JobId},
    image::{
        CandidateFound, ImageFailed, ImageFetched, ImageLabeled, ImageRejected, ImageValidated,
    },
    job::{JobFailed, SourceExpanded, SourceRequested},
    training::{DatasetReady, ModelTrained, TrainingRequested},
    tuning::TuningRequested,
};

/// The version of the contract that this build speaks.
pub const SCHEMA: u32 = 3;

/// The most bytes that a message's body may have.
pub const MAX_BODY: usize = 1 << 20;

/// Why a body is not a message of this contract.
#[derive(Debug, Error)]
pub enum Malformed {
    #[error(
        "the message speaks schema {found}, this build {SCHEMA}: run the same version everywhere, then replay it"
    )]
    Schema { found: u32 },
    #[error("the message has {bytes} bytes or more, {MAX_BODY} at most")]
    TooLarge { bytes: usize },
    #[error("the message can't be read: {0}")]
    Body(#[from] serde_json::Error),
}

/// The table of all messages, each with the routing key that it is published with.
macro_rules! messages {
    ($($name:ident => $key:literal),* $(,)?) => {
        /// Everything that travels between services.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        pub enum Message {
            $($name($name)),*
        }

        impl Message {
            /// The routing key that the message is published with.
            pub fn key(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $name::KEY),*
                }
            }
        }

        $(impl $name {
            /// The routing key that this message is published with.
            pub const KEY: &'static str = $key;
        }

        impl From<$name> for Message {
            fn from(message: $name) -> Self {
                Self::$name(message)
            }
        }

        /// Returns a message of another type as the error.
        impl TryFrom<Message> for $name {
            type Error = Message;

            fn try_from(message: Message) -> Result<Self, Message> {
                match message {
                    Message::$name(message) => Ok(message),
                    other => Err(other),
                }
            }
        })*
    };
}

messages! {
    SourceRequested => "source.requested",
    CandidateFound => "candidate.found",
    SourceExpanded => "source.expanded",
    ImageFetched => "image.fetched",
    ImageRejected => "image.rejected",
    ImageFailed => "image.failed",
    ImageValidated => "image.validated",
    ImageLabeled => "image.labeled",
    JobFailed => "job.failed",
    DatasetReady => "dataset.ready",
    TrainingRequested => "training.requested",
    TuningRequested => "tuning.requested",
    ModelTrained => "model.trained",
}

#[derive(Serialize)]
struct Outgoing<'a> {
    schema: u32,
    #[serde(flatten)]
    message: &'a Message,
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

impl Message {
    /// The message as JSON, with its schema and type.
    pub fn to_json(&self) -> Vec<u8> {
        let outgoing = Outgoing {
            schema: SCHEMA,
            message: self,
        };
        serde_json::to_vec(&outgoing).expect("every message can be written as JSON")
    }

    /// Reads a message from JSON.
    pub fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() > MAX_BODY {
            return Err(Malformed::TooLarge { bytes: body.len() });
        }
        // The schema is read first, because another schema may have other types.
        let Schema { schema } = serde_json::from_slice(body)?;
        if schema != SCHEMA {
            return Err(Malformed::Schema { found: schema });
        }
        Ok(serde_json::from_slice(body)?)
    }

    /// The job that the message belongs to. Requests for training or tuning and the models that
    /// come of them belong to none.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::SourceRequested(m) => Some(m.job),
            Self::CandidateFound(m) => Some(m.job),
            Self::SourceExpanded(m) => Some(m.job),
            Self::ImageFetched(m) => Some(m.header.job),
            Self::ImageRejected(m) => Some(m.job),
            Self::ImageFailed(m) => Some(m.job),
            Self::ImageValidated(m) => Some(m.header.job),
            Self::ImageLabeled(m) => Some(m.header.job),
            Self::JobFailed(m) => Some(m.job),
            Self::DatasetReady(m) => m.job,
            Self::TrainingRequested(_) => None,
            Self::TuningRequested(_) => None,
            Self::ModelTrained(_) => None,
        }
    }

    /// The candidate that the message is about, if it is about one.
    pub fn candidate(&self) -> Option<CandidateId> {
        match self {
            Self::CandidateFound(m) => Some(m.candidate),
            Self::ImageFetched(m) => Some(m.header.candidate),
            Self::ImageRejected(m) => Some(m.candidate),
            Self::ImageFailed(m) => Some(m.candidate),
            Self::ImageValidated(m) => Some(m.header.candidate),
            Self::ImageLabeled(m) => Some(m.header.candidate),
            _ => None,
        }
    }
}
