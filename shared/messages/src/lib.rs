//! The contract between the services: every message, queue and header name, and
//! the types that name things. It knows no I/O: JSON in, JSON out.
//!
//! * [`ids`]: what a job, a candidate, an image, an object, a label … is called.
//! * [`message`]: the messages themselves and their envelope.
//! * [`reason`]: why an image was rejected, with the measurement that decided.
//! * [`source`]: what a person enqueues.
//! * [`topology`]: the exchange, the queues and which message goes to which.

pub mod ids;
pub mod message;
pub mod reason;
pub mod source;
pub mod topology;

pub use ids::{CandidateId, DatasetId, ImageId, InvalidId, JobId, Label, ObjectKey, RunId};
pub use message::{
    CandidateFound, DatasetReady, Format, Hop, How, ImageFailed, ImageFetched, ImageLabeled,
    ImageRejected, ImageValidated, JobFailed, MAX_BODY, Malformed, Measurements, Message,
    ModelTrained, NetworkName, Opinion, Optimizer, SCHEMA, SourceExpanded, SourceRequested,
    TrainingRequested, TrainingSettings,
};
pub use reason::Reason;
pub use source::{Labeling, Location, MAX_URL, Source, is_too_long, shown};
pub use topology::Queue;
