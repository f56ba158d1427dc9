//! The labeler gives a validated image its label.
//!
//! The label is the one that the source gives: its one class, the image's folder or the
//! label column. If a model is published, its prediction is recorded beside the label, but
//! decides nothing. If several candidates of a job have the same bytes, the first one
//! stands for the image, and the others are rejected as exact duplicates of it.
//!
//! * [`stage`]: gives an image its label, or rejects it.
//! * [`model_check`]: asks the newest model for its prediction.

mod args;
pub mod model_check;
pub mod stage;

pub use args::{Args, ModelCheckArgs, service};

/// The service's name.
pub const NAME: &str = "labeler";
