//! Sources and images that a person removes from a collection.

use std::collections::BTreeSet;

use async_trait::async_trait;
use maskline_messages::{CandidateId, CollectionName, ImageId, JobId, LocationId};
use url::Url;

use crate::{error::StorageError, records::Removal};

/// What was removed from the collections.
///
/// A removal has several steps, and a process may die between any two of them: each can be
/// repeated. Every step that takes images out of a collection opens it, so that no plan from
/// before counts any more.
#[async_trait]
pub trait Removals: Send + Sync + 'static {
    /// Records that a person removed a source at the time `at`, and whether nothing may be left
    /// of what only this source had. Those of its candidates that are in flight or failed end as
    /// removed, and their number is returned. A job that was removed before keeps its time, and
    /// one that was purged stays so.
    async fn remove_job(&self, job: JobId, at: u64, purge: bool) -> Result<u64, StorageError>;

    /// Removes images: nobody can claim them any more, and their candidates end as removed. The
    /// locations of these candidates are removed, too.
    async fn remove_images(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
        purge: bool,
    ) -> Result<(), StorageError>;

    /// Removes locations: what is found there in the future is rejected.
    async fn remove_places(
        &self,
        collection: &CollectionName,
        places: &[LocationId],
    ) -> Result<(), StorageError>;

    /// Ends candidates of the collection as removed, in whatever state they are.
    async fn remove_candidates(
        &self,
        collection: &CollectionName,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError>;

    /// Selects those of the locations that were removed.
    async fn removed_places(
        &self,
        collection: &CollectionName,
        places: &[LocationId],
    ) -> Result<BTreeSet<LocationId>, StorageError>;

    /// Lists at most `limit` of the images that were removed, sorted, beginning after `after`.
    async fn removed_images(
        &self,
        collection: &CollectionName,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<ImageId>, StorageError>;

    /// Looks up whether an image was removed.
    async fn removal(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<Option<Removal>, StorageError>;

    /// Lists the images that were fetched from an address, or that a page at this address shows.
    async fn images_at(
        &self,
        collection: &CollectionName,
        url: &Url,
    ) -> Result<BTreeSet<ImageId>, StorageError>;

    /// Says whether a candidate of another collection turned out to be the image and was not
    /// removed there.
    async fn is_elsewhere(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<bool, StorageError>;

    /// Deletes the documents of images with their pixels.
    async fn delete_images(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<(), StorageError>;

    /// Forgets everything about the candidates that turned out to be these images but that they
    /// were rejected. After that nobody can tell which candidates they were.
    async fn erase_images(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<(), StorageError>;

    /// Forgets everything about candidates but that they were rejected, because a person removed
    /// them.
    async fn erase_candidates(
        &self,
        collection: &CollectionName,
        candidates: &[CandidateId],
    ) -> Result<(), StorageError>;

    /// Records that a version of a collection is deleted. The caller deletes its objects after
    /// that.
    async fn delete_version(&self, name: &CollectionName, number: u32) -> Result<(), StorageError>;

    /// Makes sure that no file of the catalog has bytes of what was deleted, as far as that is in
    /// its power: SQLite's file and its log have none, and what MongoDB's files have is its own
    /// affair.
    async fn wipe_deleted(&self) -> Result<(), StorageError>;
}
