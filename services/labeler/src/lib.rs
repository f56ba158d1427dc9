//! The labeler: gives a validated image its class.
//!
//! The class is what the source says: its one class, its folder or its label
//! column. Where a model has been published, it is asked too, and what it thinks
//! is recorded beside the label; it never decides. Of several candidates of a
//! job with the same bytes the first stands for the image, the others are exact
//! duplicates of it.
//!
//! * [`stage`]: the class, or why there is none.
//! * [`model_check`]: what the newest model predicts.

mod args;
pub mod model_check;
pub mod stage;

pub use args::{Args, OpinionArgs, service};

/// The service's name.
pub const NAME: &str = "labeler";
