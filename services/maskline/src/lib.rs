//! The operator's command `maskline`: everything that a person types, and all five services
//! in one process.
//!
//! * [`cli`]: the commands. Each has a file below `commands`, which holds its flags and what
//!   it does.
//! * `connection`: the flags that say where broker, objects and catalog are.
//! * `lookup`: finding a job, a dataset or a model by its name or the beginning of its id.
//! * `collection_view`: a collection with its sources and versions.
//! * `evaluation_view`: how good networks are, as text.
//! * `job_view`: a job with its counts and its runs, as a person asks about it.
//! * `run_view`, `run_wait`: a training run as a person asks about it, and waiting for its end.
//! * `study_view`, `study_wait`: a study as a person asks about it, and waiting for its end.
//! * `dataset_remarks`: what a person should know of a version before training on it.
//! * `job_summary`, `job_progress`: a job as text, and as a progress bar.
//! * `decoding`: a person's files become pictures, in worker processes.
//! * `output`: printing lines and tables.
//! * `jaeger`, `span`, `trace_tree`: a trace is fetched, decoded and drawn.
//! * `removal`: a source or an image leaves a collection.
//! * `reopen`: what a replayed dead letter opens again.
//! * `demo`: the drawn faces, and the small web site that serves them.

pub mod cli;
mod collection_view;
mod commands;
mod connection;
mod dataset_remarks;
mod decoding;
mod demo;
mod drawing;
mod evaluation_view;
mod jaeger;
mod job_progress;
mod job_summary;
mod job_view;
mod lookup;
mod output;
mod removal;
mod reopen;
mod run_view;
mod run_wait;
mod span;
mod start;
mod study_view;
mod study_wait;
mod trace_tree;

pub use decoding::DECODER;
