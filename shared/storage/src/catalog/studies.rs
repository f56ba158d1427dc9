//! Studies, in which networks are tuned.

use async_trait::async_trait;
use maskline_messages::StudyId;

use crate::{
    error::StorageError,
    records::{Study, TrialResult},
};

/// The studies, and what came of their trials. The run of a trial is not in the
/// [`Library`](super::Library) before it is published.
#[async_trait]
pub trait Studies: Send + Sync + 'static {
    /// Records a study. One that is there already stays as it is.
    async fn create_study(&self, study: &Study) -> Result<(), StorageError>;

    async fn study(&self, id: StudyId) -> Result<Option<Study>, StorageError>;

    /// Writes the state, error and best trial of a study.
    /// Fails with [`NotFound`](crate::StorageErrorKind::NotFound) if no such study was recorded.
    async fn update_study(&self, study: &Study) -> Result<(), StorageError>;

    /// Records what came of a rung of a trial. A result that is there already stays as it is: what
    /// followed from it can't be taken back.
    async fn record_result(&self, result: &TrialResult) -> Result<(), StorageError>;

    /// Lists the results of a study, sorted by rung and trial.
    async fn results(&self, study: StudyId) -> Result<Vec<TrialResult>, StorageError>;

    /// Opens a study that failed: the failures of its trials are forgotten, and the work that ended
    /// with them is open again. A study in another state stays as it is.
    async fn reopen_study(&self, id: StudyId) -> Result<(), StorageError>;
}
