//! The storer writes one document per image, image bytes included. It records how each
//! candidate ended, and freezes a job's dataset when none of its candidates is in flight.
//!
//! * [`stage`]: records how each candidate ended.
//! * [`freeze`]: the worker that makes a dataset of a complete job.
//! * `plan` and `near_duplicates`: which image goes to which split, as pure functions.

mod args;
pub mod freeze;
mod near_duplicates;
mod plan;
pub mod stage;

pub use args::{Args, service};

/// The service's name.
pub const NAME: &str = "storer";
