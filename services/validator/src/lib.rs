//! The validator: decodes fetched images, and decides which are fit for training.
//!
//! A fit image is measured, becomes a small RGB JPEG without metadata, and the faces in it are
//! found. An unfit one is rejected with the reason; that no face was found is none.
//!
//! * [`validate`]: validates the bytes of an image, without any store.
//! * [`sandboxed`]: the same in worker processes, where a file can do no harm.
//! * `checks`: the checks of a picture's measurements, one file for each check.
//! * [`stage`]: takes ImageFetched, gives ImageValidated and ImageRejected.

mod args;
mod checks;
mod faces;
mod limits;
pub mod sandboxed;
pub mod stage;
mod validate;

pub use args::{Args, service};
pub use faces::FaceArgs;
pub use limits::LimitArgs;
pub use sandboxed::{Answer, Normalized, SandboxedValidator, WORKER};
pub use validate::{Accepted, Rejected, validate};

/// The service's name.
pub const NAME: &str = "validator";
