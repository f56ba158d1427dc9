//! The two stores: raw and derived bytes in an [`ObjectStore`], everything that is known
//! about them in a [`Catalog`].

mod args;
pub mod catalog;
mod error;
mod failure;
pub mod lease;
pub mod objects;
mod readiness;
pub mod records;
pub mod reopen;

pub use args::{StorageArgs, Stores};
pub use catalog::Catalog;
pub use error::{StorageError, StorageErrorKind};
pub use failure::{collection_of_message, job_of_message};
pub use objects::{ObjectStore, OpenObject, SourceBucket, SourceObject, Upload};
pub use readiness::{catalog_answers, objects_answer};
