//! Collections, and the versions that are frozen of them.

use async_trait::async_trait;
use maskline_messages::CollectionName;

use crate::{
    error::StorageError,
    records::{Collection, Dataset, Job, Settled, TrainingWish, Version},
};

/// The collections.
///
/// A change of a collection that is not there is
/// [`NotFound`](crate::StorageErrorKind::NotFound).
#[async_trait]
pub trait Collections: Send + Sync + 'static {
    /// Records a collection. One that is there already stays as it is. Returns the collection
    /// as it is recorded now.
    async fn create_collection(&self, collection: &Collection) -> Result<Collection, StorageError>;

    async fn collection(&self, name: &CollectionName) -> Result<Option<Collection>, StorageError>;

    /// Lists at most `limit` collections, the newest first.
    async fn collections(&self, limit: usize) -> Result<Vec<Collection>, StorageError>;

    /// Lists the jobs of the sources that were enqueued into the collection, the oldest first.
    async fn jobs_of(&self, name: &CollectionName) -> Result<Vec<Job>, StorageError>;

    /// Returns a proof if no source of the collection is being expanded and no candidate of it
    /// is in flight. Sources that were removed do not matter. The cost grows with the sources that are not frozen, and not with the
    /// images.
    async fn settled(&self, name: &CollectionName) -> Result<Option<Settled>, StorageError>;

    /// Records the dataset and makes it the newest version of its collection, unless the newest
    /// version has the same content. An earlier error says nothing any more. Returns the version, or `None` if the
    /// collection was opened since it was `settled`.
    async fn add_version(
        &self,
        dataset: &Dataset,
        settled: &Settled,
    ) -> Result<Option<Version>, StorageError>;

    /// Records why the collection can't be frozen. Nothing changes if it was opened since it
    /// was `settled`.
    async fn fail_freezing(
        &self,
        name: &CollectionName,
        error: &str,
        settled: &Settled,
    ) -> Result<(), StorageError>;

    /// Records what is to be trained on the next version that is announced. A request that is
    /// there already stays as it is.
    async fn request_training(
        &self,
        name: &CollectionName,
        wish: &TrainingWish,
    ) -> Result<(), StorageError>;

    /// Removes a request that was announced.
    async fn finish_request(
        &self,
        name: &CollectionName,
        wish: &TrainingWish,
    ) -> Result<(), StorageError>;
}
