//! The storer writes one document per image, image bytes included. It records how each
//! candidate ended, and freezes a collection when nothing of it is in flight.
//!
//! * [`stage`]: records how each candidate ended.
//! * [`freeze`]: the worker that makes a version of a collection.
//! * `history`: the splits that they were in, in earlier versions.
//! * `plan`: which image goes to which split, as a pure function.
//! * `near_duplicates`, `photographs`: which images look the same, and which are of one photograph.

mod args;
mod disjoint_sets;
pub mod freeze;
mod history;
mod near_duplicates;
mod photographs;
mod plan;
pub mod stage;

pub use args::{Args, service};

/// The service's name.
pub const NAME: &str = "storer";
