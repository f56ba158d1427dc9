//! The commands: a file for each, or for two that belong together.

pub(crate) mod check;
pub(crate) mod collections;
pub(crate) mod datasets;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod enqueue;
pub(crate) mod evaluate;
pub(crate) mod freeze;
mod model;
pub(crate) mod models;
pub(crate) mod predict;
pub(crate) mod rejects;
pub(crate) mod remove;
pub(crate) mod report;
pub(crate) mod run;
mod search_args;
pub(crate) mod status;
pub(crate) mod trace;
pub(crate) mod train;
pub(crate) mod training_args;
pub(crate) mod tune;
pub(crate) mod weights;
