//! What the pipeline makes: datasets, training runs, models.

use async_trait::async_trait;
use maskline_messages::{DatasetId, RunId};

use crate::{
    error::StorageError,
    records::{Dataset, Model, Run},
};

/// The datasets, the training runs and the published models.
#[async_trait]
pub trait Library: Send + Sync + 'static {
    async fn dataset(&self, id: &DatasetId) -> Result<Option<Dataset>, StorageError>;

    /// Lists at most `limit` datasets, the newest first.
    async fn datasets(&self, limit: usize) -> Result<Vec<Dataset>, StorageError>;

    /// Records a run. One that is there already stays as it is.
    async fn create_run(&self, run: &Run) -> Result<(), StorageError>;

    async fn run(&self, id: RunId) -> Result<Option<Run>, StorageError>;

    /// Lists at most `limit` runs, the newest first: those on one dataset, or all.
    async fn runs(
        &self,
        dataset: Option<&DatasetId>,
        limit: usize,
    ) -> Result<Vec<Run>, StorageError>;

    /// Writes the state, error, epoch, accuracy, loss, evaluation and device of a run.
    /// Fails with [`NotFound`](crate::StorageErrorKind::NotFound) if no such run was recorded.
    async fn update_run(&self, run: &Run) -> Result<(), StorageError>;

    /// Opens a run that failed, as if nobody had begun it, and the work on it. A run in
    /// another state stays as it is.
    async fn reopen_run(&self, id: RunId) -> Result<(), StorageError>;

    /// Writes the record of a model, over one of the same run.
    async fn publish_model(&self, model: &Model) -> Result<(), StorageError>;

    async fn model(&self, id: RunId) -> Result<Option<Model>, StorageError>;

    /// Lists at most `limit` models, the newest first.
    async fn models(&self, limit: usize) -> Result<Vec<Model>, StorageError>;
}
