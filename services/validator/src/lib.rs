//! The validator: decodes fetched images, and decides which are fit for training.
//!
//! A fit image is measured and becomes a small RGB JPEG without metadata. An unfit one
//! is rejected with the reason.
//!
//! * [`validate`]: validates the bytes of an image, without any store.
//! * `checks`: the checks of a picture's measurements, one file for each check.
//! * [`stage`]: takes ImageFetched, gives ImageValidated and ImageRejected.

mod args;
mod checks;
mod limits;
pub mod stage;
mod validate;

pub use args::{Args, service};
pub use limits::LimitArgs;
pub use validate::{Accepted, Rejected, validate};

/// The service's name.
pub const NAME: &str = "validator";
