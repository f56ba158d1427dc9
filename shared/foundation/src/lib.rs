//! What the brokers, the stores and the services stand on. This crate depends on no
//! other of the workspace.
//!
//! Without any feature, and quick to compile:
//!
//! * [`telemetry_names`]: the names of spans, their attributes and their events.
//! * [`error`], [`text`], [`time`]: errors with their causes, shortened texts, and
//!   milliseconds since 1970.
//! * [`private_folder`]: folders and files that only this user can read.
//! * [`walk`], [`path_text`], [`regular_file`]: the files of a folder, their paths as text, and
//!   reading them.
//!
//! With the feature `connections`:
//!
//! * [`address`], [`tls`]: where a server is, and which authorities are trusted.
//! * [`failure`]: why a message could not be handled.
//! * [`probe`]: the check behind `/readyz`.
//! * [`retry`]: how long to wait before the next attempt.
//! * [`budget`]: a bound on the bytes that are in memory together.
//! * [`sqlite`]: a file that several processes write to, and the commits that writes share.

#[cfg(feature = "connections")]
pub mod address;
#[cfg(feature = "connections")]
pub mod budget;
pub mod error;
#[cfg(feature = "connections")]
pub mod failure;
pub mod path_text;
pub mod private_folder;
#[cfg(feature = "connections")]
pub mod probe;
pub mod regular_file;
#[cfg(feature = "connections")]
pub mod retry;
#[cfg(feature = "connections")]
pub mod sqlite;
pub mod telemetry_names;
pub mod text;
pub mod time;
#[cfg(feature = "connections")]
pub mod tls;
pub mod walk;

#[cfg(feature = "connections")]
pub use {
    address::Address,
    budget::{ByteBudget, ByteRoom},
    failure::Failure,
    probe::Probe,
    retry::{Backoff, RetryPolicy},
};
