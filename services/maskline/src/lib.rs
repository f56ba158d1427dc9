//! The operator's command: everything a person types, and all five services in
//! one process.
//!
//! * [`cli`]: the commands and their flags.
//! * [`commands`]: what each does.
//! * [`demo`]: the drawn faces, and the small web site that serves them.
//! * [`places`]: the addresses of broker, objects and catalog.
//! * [`reopen`]: what a replayed dead letter opens again in the books.
//! * [`view`], [`output`]: a job as a person asks about it, and as they see it.
//! * [`jaeger`], [`tree`]: a trace, read back and drawn.

pub mod cli;
pub mod commands;
pub mod demo;
mod jaeger;
pub mod output;
pub mod places;
pub mod reopen;
mod span;
mod tree;
pub mod view;
