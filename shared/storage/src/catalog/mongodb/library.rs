//! The collections of datasets, runs and models.

use async_trait::async_trait;
use maskline_messages::{DatasetId, RunId};
use mongodb::bson::doc;

use super::{
    MongodbCatalog,
    documents::{document, replace_fields},
    leases::{free, offer_work_again, work_key},
    schema::{DATASETS, MODELS, RUNS},
};
use crate::{
    catalog::{library::Library, missing},
    error::StorageError,
    records::{Dataset, Model, Run, RunState, Work},
};

#[async_trait]
impl Library for MongodbCatalog {
    async fn dataset(&self, id: &DatasetId) -> Result<Option<Dataset>, StorageError> {
        self.database.by_id(DATASETS, id.to_string()).await
    }

    async fn datasets(&self, limit: usize) -> Result<Vec<Dataset>, StorageError> {
        self.database.newest(DATASETS, doc! {}, limit).await
    }

    async fn create_run(&self, run: &Run) -> Result<(), StorageError> {
        self.database.insert_once(RUNS, run).await
    }

    async fn run(&self, id: RunId) -> Result<Option<Run>, StorageError> {
        self.database.by_id(RUNS, id.to_string()).await
    }

    async fn runs(
        &self,
        dataset: Option<&DatasetId>,
        limit: usize,
    ) -> Result<Vec<Run>, StorageError> {
        let filter = match dataset {
            Some(dataset) => doc! { "dataset": dataset.to_string() },
            None => doc! {},
        };
        self.database.newest(RUNS, filter, limit).await
    }

    async fn update_run(&self, run: &Run) -> Result<(), StorageError> {
        let mut fields = document(run)?;
        let progress = [
            "state",
            "error",
            "epoch",
            "accuracy",
            "loss",
            "evaluation",
            "device",
        ]
        .map(|name| (name, fields.remove(name)));
        let filter = doc! { "_id": run.id.to_string() };
        if self
            .database
            .update(RUNS, filter, replace_fields(progress))
            .await?
        {
            return Ok(());
        }
        self.database
            .must_exist(RUNS, run.id.to_string(), missing::run(run.id))
            .await
    }

    async fn reopen_run(&self, id: RunId) -> Result<(), StorageError> {
        let run: Option<Run> = self.database.by_id(RUNS, id.to_string()).await?;
        let run = run.ok_or_else(|| missing::run(id))?;
        let training = Work::Train(id);
        match run.state {
            RunState::Failed => {
                self.update_run(&run.reopened()).await?;
                // The run comes first. A holder that finishes the work in between finishes the
                // earlier attempt, and the work is opened again after that.
                offer_work_again(&self.database, &training).await
            }
            // A process that opened the run may have died before it freed the work.
            RunState::Open => {
                free(
                    &self.database,
                    doc! { "_id": work_key(&training), "done": true },
                )
                .await
            }
            RunState::Done => Ok(()),
        }
    }

    async fn publish_model(&self, model: &Model) -> Result<(), StorageError> {
        self.database.replace(MODELS, document(model)?).await
    }

    async fn model(&self, id: RunId) -> Result<Option<Model>, StorageError> {
        self.database.by_id(MODELS, id.to_string()).await
    }

    async fn models(&self, limit: usize) -> Result<Vec<Model>, StorageError> {
        self.database.newest(MODELS, doc! {}, limit).await
    }
}
