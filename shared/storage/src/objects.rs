//! Bytes under keys.
//!
//! [`open`] opens an [`ObjectStore`] in a folder or in S3.

mod folder;
mod open;
mod s3;
mod store;

pub use open::open;
pub use s3::{OpenObject, SourceBucket, SourceObject};
pub use store::{ObjectStore, Upload};
