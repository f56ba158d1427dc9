//! The trainer: a frozen dataset becomes a published network.
//!
//! ```text
//! stage ─────Work::Train──▶ worker ─▶ course ─▶ session ─▶ evaluation
//!                             │         │ │        ▲
//!                             ▼         │ └─▶ checkpoint
//!                          publish      └─▶ examples ─▶ batches
//! ```
//!
//! * [`stage`]: records a run of every network asked for.
//! * [`worker`]: claims one run at a time, and decides what an error means.
//! * [`course`]: one run from its dataset to its last epoch.
//! * [`session`]: the network in training, step by step; no I/O.
//! * [`examples`], [`manifest`]: the dataset, as the object store has it.
//! * [`batches`], [`random`]: what the network sees, in which order, by which chance.
//! * [`schedule`], [`optimizer`], [`evaluation`]: how far a step goes, where to, how good it is.
//! * [`checkpoint`]: what a run goes on from; [`report`] and [`publish`]: what it leaves.

mod args;
pub mod batches;
pub mod checkpoint;
pub mod course;
pub mod evaluation;
pub mod examples;
#[cfg(test)]
mod fixtures;
pub mod hopeless;
pub mod manifest;
pub mod optimizer;
pub mod publish;
pub mod random;
pub mod report;
pub mod schedule;
pub mod session;
pub mod stage;
pub mod worker;

pub use args::{Args, TrainerArgs, service};

/// The service's name.
pub const NAME: &str = "trainer";
