//! The contract between the services: every message, queue and header name, and
//! the types that name things. The crate does no I/O: JSON comes in, JSON goes out.
//!
//! * [`ids`]: the ids of jobs, candidates, images, datasets and runs.
//! * [`label`], [`network`], [`object_key`], [`location`]: other things that have a name.
//! * [`source`], [`settings`], [`measurements`], [`reason`]: what the messages say of them.
//! * [`message`]: the messages themselves and their envelope.
//! * [`topology`]: the exchange, the queues and the headers.
//! * [`queue_message`]: which messages each queue carries.

pub mod ids;
pub mod invalid;
pub mod label;
pub mod location;
pub mod measurements;
pub mod message;
pub mod network;
pub mod object_key;
pub mod queue_message;
pub mod reason;
pub mod settings;
pub mod source;
pub mod topology;

pub use ids::{CandidateId, DatasetId, ImageId, JobId, RunId};
pub use invalid::InvalidId;
pub use label::Label;
pub use location::{Location, MAX_URL, is_too_long, shown};
pub use measurements::{Format, Measurements};
pub use message::{
    CandidateFound, DatasetReady, Hop, How, ImageFailed, ImageFetched, ImageLabeled, ImageRejected,
    ImageValidated, JobFailed, MAX_BODY, Malformed, Message, ModelTrained, Opinion, SCHEMA,
    SourceExpanded, SourceRequested, TrainingRequested,
};
pub use network::NetworkName;
pub use object_key::ObjectKey;
pub use queue_message::{QueueMessage, StorerImages, StorerJobs, TrainerRequests};
pub use reason::Reason;
pub use settings::{Optimizer, TrainingSettings};
pub use source::{Labeling, Source};
pub use topology::Queue;
