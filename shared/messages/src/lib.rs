//! The contract between the services: every message, queue and header name, and
//! the types that name things. The crate does no I/O: JSON comes in, JSON goes out.
//!
//! * `collection`, `ids`, `label`, `network`, `object_key`, `location`: the names of things.
//! * `license`: the licences that a person can ask for.
//! * `source`, `search`, `provenance`, `settings`, `choices`, `start`, `view`, `measurements`, `face`,
//!   `fingerprint`, `reason`: values that messages carry.
//! * `job`, `image`, `training`, `tuning`: the messages about jobs, images, training and tuning.
//! * [`tunable`]: the settings that tuning varies, and their ranges.
//! * `message`: [`Message`], the enum of all messages, and the JSON that they travel as.
//! * [`lifecycle`]: the states of candidates and jobs, and what fails with a message that is
//!   given up.
//! * [`path_serde`]: paths in messages and records, whatever bytes they have.
//! * [`topology`]: the exchange, the queues and the headers.
//! * `queue_message`: [`QueueMessage`], which says what each queue carries.

mod choices;
mod collection;
mod face;
mod fingerprint;
mod ids;
mod image;
mod invalid;
mod job;
mod label;
mod license;
pub mod lifecycle;
mod location;
mod measurements;
mod message;
mod method;
mod network;
mod object_key;
pub mod path_serde;
mod provenance;
mod queue_message;
mod reason;
mod search;
mod settings;
mod source;
mod start;
pub mod topology;
mod training;
pub mod tunable;
mod tuning;
mod view;

pub use choices::TrainingChoices;
pub use collection::{CollectionName, VersionName};
pub use face::{Bounds, Face, KeyPoints, Point};
pub use fingerprint::{Detail, Fingerprint, InvalidFingerprint, Thumbnail};
pub use ids::{
    CandidateId, DatasetId, ImageId, JobId, LocationId, RequestId, RunId, StudyId, WeightsId,
};
pub use image::{
    CandidateFound, Fetched, Hop, ImageFailed, ImageFetched, ImageHeader, ImageLabeled,
    ImageRejected, ImageValidated, KnownImage, Prediction,
};
pub use invalid::{InvalidId, UnknownName};
pub use job::{JobFailed, SourceExpanded, SourceRequested};
pub use label::{Label, LabelOrigin};
pub use license::License;
pub use lifecycle::{CandidateState, JobState};
pub use location::{Location, MAX_URL, is_too_long, shown, without_secrets};
pub use measurements::{Format, Measurements};
pub use message::{MAX_BODY, Malformed, Message, SCHEMA};
pub use method::Method;
pub use network::NetworkName;
pub use object_key::{CheckpointPart, ObjectKey};
pub use provenance::Provenance;
pub use queue_message::{QueueMessage, StorerImages, StorerJobs, TrainerRequests};
pub use reason::Reason;
pub use search::{Search, SearchProvider};
pub use settings::{InvalidSetting, Optimizer, PIXELS, SplitSettings, TrainingSettings};
pub use source::{Labeling, Source, SourceRole};
pub use start::Start;
pub use topology::Queue;
pub use training::{DatasetReady, ModelTrained, TrainingRequested};
pub use tunable::Tunable;
pub use tuning::{TuningRequested, TuningSearch};
pub use view::View;
