//! The contract between the services: every message, queue and header name, and
//! the types that name things. The crate does no I/O: JSON comes in, JSON goes out.
//!
//! * [`ids`]: the ids of jobs, candidates, images, datasets and runs.
//! * [`label`], [`network`], [`object_key`], [`location`]: other things that have a name.
//! * [`source`], [`settings`], [`measurements`], [`reason`]: what the messages say of them.
//! * [`message`]: the messages themselves and their envelope.
//! * [`lifecycle`]: the states of candidates and jobs, and what a message's loss ends.
//! * [`topology`]: the exchange, the queues, and which message goes to which queue.

pub mod ids;
pub mod invalid;
pub mod label;
pub mod lifecycle;
pub mod location;
pub mod measurements;
pub mod message;
pub mod network;
pub mod object_key;
pub mod reason;
pub mod settings;
pub mod source;
pub mod topology;

pub use ids::{CandidateId, DatasetId, ImageId, JobId, RunId};
pub use invalid::InvalidId;
pub use label::Label;
pub use lifecycle::{CandidateState, JobState};
pub use location::{Location, MAX_URL, is_too_long, shown};
pub use measurements::{Format, Measurements};
pub use message::{
    CandidateFound, DatasetReady, Hop, How, ImageFailed, ImageFetched, ImageLabeled, ImageRejected,
    ImageValidated, JobFailed, MAX_BODY, Malformed, Message, ModelTrained, Opinion, SCHEMA,
    SourceExpanded, SourceRequested, TrainingRequested,
};
pub use network::NetworkName;
pub use object_key::{CheckpointPart, ObjectKey};
pub use reason::Reason;
pub use settings::{InvalidSetting, Optimizer, SplitSettings, TrainingSettings};
pub use source::{Labeling, Source};
pub use topology::Queue;
