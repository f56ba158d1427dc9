//! Bytes under keys.

mod folder;
mod s3;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::ObjectKey;

use crate::error::StorageError;

pub use folder::Folder;
pub use s3::S3;

/// Opens the object store at an address:
///
/// * `file:FOLDER` for a folder that all processes share;
/// * `s3://bucket/prefix` for S3, with credentials from the environment variables
///   or the shared credentials file of AWS, region and endpoint from its variables; `?endpoint=URL` names another server, and
///   `&region=NAME` its region. The bucket is made where it is missing.
///
/// [`StorageError::Unavailable`] within seconds where nothing answers,
/// [`StorageError::Misconfigured`] for an address or credentials that can't be used.
pub async fn open(url: &str) -> Result<Arc<dyn ObjectStore>, StorageError> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "file" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() {
                let problem = "no folder is named: write file:FOLDER, such as file:data/objects";
                return Err(StorageError::Misconfigured(problem.to_owned()));
            }
            Ok(Arc::new(Folder::open(Path::new(path)).await?))
        }
        // Boxed, because the SDK's futures are nested so deeply that callers could reach
        // the compiler's limit.
        "s3" => Ok(Arc::new(Box::pin(S3::open(url)).await?)),
        _ => Err(StorageError::Misconfigured(
            "the address names no object store: write file:FOLDER or s3://BUCKET/PREFIX".to_owned(),
        )),
    }
}

/// A store of immutable objects: S3, or a folder.
///
/// Keys are by content or by derived id, so a put of the same key puts the same
/// bytes, and doing it twice changes nothing. An object is there whole or not at
/// all, and durable when `put` returns.
#[async_trait]
pub trait ObjectStore: Send + Sync + 'static {
    /// Writes an object, over one of the same key.
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StorageError>;

    /// Begins an object that comes in pieces, such as one too large to be held in memory.
    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload + '_>, StorageError>;

    /// The whole object, or [`StorageError::NotFound`].
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StorageError>;

    /// Its size in bytes, `None` if there is no such object.
    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StorageError>;

    /// Removes an object; that there was none is no error.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError>;

    /// The keys below `prefix` (whole segments, such as `datasets/1f…`), sorted,
    /// at most `most`, those after `after` only. None below what no key begins with,
    /// such as `..`.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        most: usize,
    ) -> Result<Vec<ObjectKey>, StorageError>;

    /// Whether the store answers now.
    async fn ping(&self) -> Result<(), StorageError>;

    /// Where an object can be found by a person: `s3://bucket/key` or a path.
    fn locate(&self, key: &ObjectKey) -> String;
}

/// An object in the making, over one of the same key. Nobody sees any of it before it is
/// finished. Dropped, it is taken back, as far as the store can still be told.
#[async_trait]
pub trait Upload: Send {
    /// Adds to its end. After an error nothing comes of it any more: begin anew.
    async fn write(&mut self, piece: Bytes) -> Result<(), StorageError>;

    /// Whole and durable when it returns.
    async fn finish(self: Box<Self>) -> Result<(), StorageError>;
}

/// Whether keys can lie below it: it leads nowhere else either.
fn is_prefix(prefix: &str) -> bool {
    let prefix = prefix.trim_matches('/');
    prefix.is_empty() || prefix.parse::<ObjectKey>().is_ok()
}
