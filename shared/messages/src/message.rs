//! The messages and their envelope.
//!
//! On the wire a message is one JSON object: `schema` (this crate's
//! [`SCHEMA`]), `type` (the message's name in snake case) and the fields. A
//! reader ignores fields that it doesn't know; another schema, another type or
//! a broken body is [`Malformed`], which the stage runner treats as poison.
//!
//! Messages carry references, never pixels.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ids::{CandidateId, DatasetId, ImageId, JobId, RunId},
    label::Label,
    location::Location,
    measurements::Measurements,
    network::NetworkName,
    object_key::ObjectKey,
    reason::Reason,
    settings::TrainingSettings,
    source::{Labeling, Source},
};

/// The version of the contract that this build speaks.
pub const SCHEMA: u32 = 1;

/// The most bytes that a message's body may have. Messages carry references.
pub const MAX_BODY: usize = 1 << 20;

/// A body that is no message of this contract.
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

macro_rules! messages {
    ($($name:ident),* $(,)?) => {
        /// Everything that travels between services.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        pub enum Message {
            $($name($name)),*
        }

        $(impl From<$name> for Message {
            fn from(message: $name) -> Self {
                Self::$name(message)
            }
        })*
    };
}

messages! {
    SourceRequested, CandidateFound, SourceExpanded, ImageFetched, ImageRejected, ImageFailed,
    ImageValidated, ImageLabeled, JobFailed, DatasetReady, TrainingRequested, ModelTrained,
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
    /// The JSON body, envelope included.
    pub fn to_json(&self) -> Vec<u8> {
        let outgoing = Outgoing {
            schema: SCHEMA,
            message: self,
        };
        serde_json::to_vec(&outgoing).expect("messages hold nothing that JSON can't say")
    }

    pub fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() > MAX_BODY {
            return Err(Malformed::TooLarge { bytes: body.len() });
        }
        // The schema first: a newer one may have other types.
        let Schema { schema } = serde_json::from_slice(body)?;
        if schema != SCHEMA {
            return Err(Malformed::Schema { found: schema });
        }
        Ok(serde_json::from_slice(body)?)
    }

    /// The job that the message belongs to; a training request belongs to none.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::SourceRequested(m) => Some(m.job),
            Self::CandidateFound(m) => Some(m.job),
            Self::SourceExpanded(m) => Some(m.job),
            Self::ImageFetched(m) => Some(m.job),
            Self::ImageRejected(m) => Some(m.job),
            Self::ImageFailed(m) => Some(m.job),
            Self::ImageValidated(m) => Some(m.fetched.job),
            Self::ImageLabeled(m) => Some(m.validated.fetched.job),
            Self::JobFailed(m) => Some(m.job),
            Self::DatasetReady(m) => Some(m.job),
            Self::TrainingRequested(_) => None,
            Self::ModelTrained(_) => None,
        }
    }

    /// The candidate on its way, where the message is about one.
    pub fn candidate(&self) -> Option<CandidateId> {
        match self {
            Self::CandidateFound(m) => Some(m.candidate),
            Self::ImageFetched(m) => Some(m.candidate),
            Self::ImageRejected(m) => Some(m.candidate),
            Self::ImageFailed(m) => Some(m.candidate),
            Self::ImageValidated(m) => Some(m.fetched.candidate),
            Self::ImageLabeled(m) => Some(m.validated.fetched.candidate),
            _ => None,
        }
    }
}

/// One step of an image's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The service, such as `validator`.
    pub stage: String,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
}

impl Hop {
    pub fn now(stage: &str) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let at = since.map_or(0, |d| d.as_millis() as u64);
        Self {
            stage: stage.to_owned(),
            at,
        }
    }
}

/// enqueue → scraper: expand this source from `cursor` on. A large source is
/// expanded in steps, each of which sends the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRequested {
    pub job: JobId,
    pub source: Source,
    /// `None`: the source's candidates carry no label.
    pub labeling: Option<Labeling>,
    /// Where to go on; means something to the source's own kind only. `None`: the beginning.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Candidates found before `cursor`.
    #[serde(default)]
    pub found: u64,
}

/// scraper → scraper: fetch this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateFound {
    pub job: JobId,
    pub candidate: CandidateId,
    pub location: Location,
    pub label: Option<Label>,
}

/// scraper → storer: every candidate of the source is in the catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceExpanded {
    pub job: JobId,
    pub found: u64,
}

/// scraper → validator: the raw bytes lie in the object store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageFetched {
    pub job: JobId,
    pub candidate: CandidateId,
    pub location: Location,
    /// What the source says; the labeler decides.
    pub label: Option<Label>,
    pub image: ImageId,
    /// The raw bytes.
    pub object: ObjectKey,
    pub bytes: u64,
    /// As the server said it, which need not be true.
    pub content_type: Option<String>,
    #[serde(default)]
    pub history: Vec<Hop>,
}

/// any stage → storer: the input is no good, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRejected {
    pub job: JobId,
    pub candidate: CandidateId,
    /// Known once it was fetched.
    pub image: Option<ImageId>,
    pub stage: String,
    pub reason: Reason,
    #[serde(default)]
    pub history: Vec<Hop>,
}

/// runner → storer: the message about this candidate went to the dead letters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageFailed {
    pub job: JobId,
    pub candidate: CandidateId,
    pub stage: String,
    pub error: String,
    pub attempts: u32,
}

/// validator → labeler: a sound image, normalized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageValidated {
    pub fetched: ImageFetched,
    /// The bounded RGB image without metadata, a JPEG.
    pub normalized: ObjectKey,
    /// Pixels of the normalized image.
    pub width: u32,
    pub height: u32,
    pub measurements: Measurements,
}

/// How an image came to its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// By the source: its one class, its folder or its label column.
    Source,
}

/// What a published model thinks of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    pub model: RunId,
    pub label: Label,
    /// Softmax probability of `label`, 0 to 1.
    pub confidence: f32,
    pub agrees: bool,
}

/// labeler → storer: an image with its class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageLabeled {
    pub validated: ImageValidated,
    pub label: Label,
    pub how: How,
    /// Where a published model exists.
    pub opinion: Option<Opinion>,
}

/// runner → storer: the source can't be expanded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFailed {
    pub job: JobId,
    pub stage: String,
    pub error: String,
}

/// storer → trainer: a frozen dataset, and what to train on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetReady {
    pub job: JobId,
    pub dataset: DatasetId,
    pub networks: Vec<NetworkName>,
    pub settings: TrainingSettings,
}

/// `maskline train` → trainer: more runs on a dataset that exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRequested {
    pub dataset: DatasetId,
    pub networks: Vec<NetworkName>,
    pub settings: TrainingSettings,
}

/// trainer → storer: a model is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelTrained {
    pub dataset: DatasetId,
    /// The run, and the model's id.
    pub run: RunId,
    pub network: NetworkName,
    /// Of the best epoch, on the validation split, 0 to 1.
    pub accuracy: f32,
    /// Mean cross-entropy of the best epoch on the validation split, in nats.
    pub loss: f32,
}
