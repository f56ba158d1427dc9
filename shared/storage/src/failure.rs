//! Turns a store's errors and missing records into failures of a message.

use anyhow::anyhow;
use maskline_foundation::Failure;
use maskline_messages::{CollectionName, JobId};

use crate::{
    catalog::{Collections, Jobs},
    error::{StorageError, StorageErrorKind},
    records::{Collection, Job},
};

/// The runner waits for an outage, see [`StorageError::is_outage`]. Other errors are for a person to
/// look at, so the message becomes a dead letter.
impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error.is_outage() {
            true => Self::outage(error),
            false => Self::poison(error),
        }
    }
}

impl StorageError {
    /// Whether the store is away, or refuses everybody until a person repairs its configuration: no
    /// message and no run is to blame.
    pub fn is_outage(&self) -> bool {
        match self.kind() {
            StorageErrorKind::Unavailable | StorageErrorKind::Misconfigured => true,
            StorageErrorKind::NotFound | StorageErrorKind::Internal => false,
        }
    }

    /// The failure for an object that a message names. The object was durable before the
    /// message was sent. So a store that does not have it lags behind, and the message is
    /// tried again.
    pub fn behind(self) -> Failure {
        match self.kind() {
            StorageErrorKind::NotFound => Failure::retry(self),
            _ => self.into(),
        }
    }
}

/// Reads the collection of a message. If the catalog has no such collection, the services use
/// another catalog than whoever enqueued it, and the message becomes a dead letter.
pub async fn collection_of_message(
    collections: &dyn Collections,
    name: &CollectionName,
) -> Result<Collection, Failure> {
    let collection = collections.collection(name).await?;
    collection.ok_or_else(|| {
        Failure::poison(anyhow!(
            "collection {name} is not in the catalog: is this the catalog that its sources were \
             enqueued in?"
        ))
    })
}

/// Reads the job of a message. If the catalog has no such job, the services use another
/// catalog than whoever enqueued it, and the message becomes a dead letter.
pub async fn job_of_message(jobs: &dyn Jobs, id: JobId) -> Result<Job, Failure> {
    let job = jobs.job(id).await?;
    job.ok_or_else(|| {
        Failure::poison(anyhow!(
            "job {id} is not in the catalog: is this the catalog that it was enqueued in?"
        ))
    })
}
