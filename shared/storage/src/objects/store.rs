//! The contract of object stores.

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::ObjectKey;

use crate::error::StorageError;

/// A store of immutable objects: S3, or a folder.
///
/// Keys are by content or by derived id, so a put of the same key puts the same
/// bytes, and doing it twice changes nothing. An object is there whole or not at
/// all, and durable when `put` returns.
#[async_trait]
pub trait ObjectStore: Send + Sync + 'static {
    /// Writes an object, over one of the same key.
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StorageError>;

    /// Begins an object that comes in pieces, such as one that is too large for the memory.
    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload + '_>, StorageError>;

    /// Reads the whole object. Fails with [`NotFound`](crate::StorageErrorKind::NotFound) if
    /// there is none.
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StorageError>;

    /// The object's size in bytes. `None` if there is no such object.
    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StorageError>;

    /// Removes an object. It is no error if there is none.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError>;

    /// Lists at most `limit` keys below `prefix` (whole segments, such as `datasets/1f…`),
    /// sorted, beginning after the key `after`. There are none below what no key can begin
    /// with, such as `..`.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectKey>, StorageError>;

    /// Succeeds if the store answers now.
    async fn ping(&self) -> Result<(), StorageError>;

    /// The address at which a person finds the object: `s3://bucket/key` or a path.
    fn locate(&self, key: &ObjectKey) -> String;
}

/// An object in the making, over one of the same key. Nobody sees any of it before it is
/// finished. If it is dropped unfinished, its bytes are removed as far as the store can
/// still be reached.
#[async_trait]
pub trait Upload: Send {
    /// Adds a piece to the end. After an error the upload can't be finished: begin a new one.
    async fn write(&mut self, piece: Bytes) -> Result<(), StorageError>;

    /// The object is whole and durable when this returns.
    async fn finish(self: Box<Self>) -> Result<(), StorageError>;
}

/// True if keys can begin with it. Such a prefix does not lead out of the store.
pub(super) fn is_prefix(prefix: &str) -> bool {
    let prefix = prefix.trim_matches('/');
    prefix.is_empty() || prefix.parse::<ObjectKey>().is_ok()
}
