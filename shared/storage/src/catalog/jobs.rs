//! Jobs, from their first candidate to the version that has their images.

use async_trait::async_trait;
use maskline_messages::JobId;

use crate::{
    error::StorageError,
    records::{Job, Pause, Settled, Version},
};

/// The jobs, and every change of a job's state.
///
/// Each change is made only in the states that it may come from, so that a change that
/// comes late or twice changes nothing. A change of a job that is not there is
/// [`NotFound`](crate::StorageErrorKind::NotFound).
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Records a job, and that its collection is open. One that is there already stays as it
    /// is. The collection must be there.
    async fn create_job(&self, job: &Job) -> Result<(), StorageError>;

    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError>;

    /// Lists at most `limit` jobs, the newest first.
    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, StorageError>;

    /// `expanding` → `running`: every candidate is recorded.
    async fn finish_expansion(&self, job: JobId) -> Result<(), StorageError>;

    /// `expanding` → `failed`.
    async fn fail_job(&self, job: JobId, error: &str) -> Result<(), StorageError>;

    /// Records until when the expansion of an `expanding` job waits, and for what.
    async fn pause_expansion(&self, job: JobId, pause: &Pause) -> Result<(), StorageError>;

    /// `failed` → `expanding`, for a job whose expansion never came to its end. One step
    /// of the expansion is about to be replayed: the dead letter with the id `dead_letter`.
    async fn reopen_expansion(&self, job: JobId, dead_letter: &str) -> Result<(), StorageError>;

    /// `running` → `frozen`: the job's images are in this version of its collection. The job
    /// stays as it is if it was opened again since its collection was `settled`.
    async fn freeze(
        &self,
        job: JobId,
        version: &Version,
        settled: &Settled,
    ) -> Result<(), StorageError>;

    /// `running` → `failed`. The job stays as it is if it was opened again since its
    /// collection was `settled`.
    async fn fail_settled(
        &self,
        job: JobId,
        error: &str,
        settled: &Settled,
    ) -> Result<(), StorageError>;
}
