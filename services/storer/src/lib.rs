//! The storer: one document per candidate, image bytes included; keeps the books
//! of every job and freezes its dataset when nothing is in flight.
//!
//! * [`books`]: the stage, what became of each candidate.
//! * [`freeze`]: the worker that makes a dataset of a complete job.
//! * `plan` and `near_duplicates`: which image goes to which split, as pure functions.

mod args;
pub mod books;
pub mod freeze;
mod near_duplicates;
mod plan;

pub use args::{Args, service};

/// The service's name.
pub const NAME: &str = "storer";
