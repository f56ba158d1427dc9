//! The tables of datasets, runs and models.

use async_trait::async_trait;
use maskline_messages::{DatasetId, RunId};
use rusqlite::params;

use super::{
    SqliteCatalog,
    leases::offer_work_again,
    rows::{change_record, json, newest, record, record_of, row_limit},
};
use crate::{
    catalog::{library::Library, missing},
    error::StorageError,
    records::{Dataset, Model, Run, RunState, Work},
};

#[async_trait]
impl Library for SqliteCatalog {
    async fn dataset(&self, id: &DatasetId) -> Result<Option<Dataset>, StorageError> {
        let id = id.to_string();
        self.read("select", "datasets", move |connection| {
            record(connection, "datasets", &id)
        })
        .await
    }

    async fn datasets(&self, limit: usize) -> Result<Vec<Dataset>, StorageError> {
        self.read("select", "datasets", move |connection| {
            newest(connection, "datasets", limit)
        })
        .await
    }

    async fn create_run(&self, run: &Run) -> Result<(), StorageError> {
        let run = run.clone();
        self.write("insert", "runs", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO runs (id, dataset, created, record) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![
                    run.id.to_string(),
                    run.dataset.to_string(),
                    run.created,
                    json(&run)?
                ])?;
            Ok(())
        })
        .await
    }

    async fn run(&self, id: RunId) -> Result<Option<Run>, StorageError> {
        self.read("select", "runs", move |connection| {
            record(connection, "runs", &id.to_string())
        })
        .await
    }

    async fn runs(
        &self,
        dataset: Option<&DatasetId>,
        limit: usize,
    ) -> Result<Vec<Run>, StorageError> {
        let dataset = dataset.map(DatasetId::to_string);
        self.read("select", "runs", move |connection| {
            let Some(dataset) = dataset else {
                return newest(connection, "runs", limit);
            };
            let mut select = connection.prepare_cached(
                "SELECT record FROM runs WHERE dataset = ?1 ORDER BY created DESC, id DESC LIMIT ?2",
            )?;
            select
                .query_and_then(params![dataset, row_limit(limit)], record_of)?
                .collect()
        })
        .await
    }

    async fn update_run(&self, run: &Run) -> Result<(), StorageError> {
        let run = run.clone();
        self.write("update", "runs", move |connection| {
            let id = run.id;
            change_record(connection, "runs", &id.to_string(), |stored: &mut Run| {
                stored.state = run.state;
                stored.error = run.error.clone();
                stored.epoch = run.epoch;
                stored.accuracy = run.accuracy;
                stored.loss = run.loss;
                stored.evaluation = run.evaluation.clone();
                stored.device = run.device.clone();
            })?
            .ok_or_else(|| missing::run(id).into())
        })
        .await
    }

    async fn reopen_run(&self, id: RunId) -> Result<(), StorageError> {
        self.write("update", "runs", move |connection| {
            let mut was = RunState::Open;
            change_record(connection, "runs", &id.to_string(), |run: &mut Run| {
                was = run.state;
                if run.state == RunState::Failed {
                    *run = run.reopened();
                }
            })?
            .ok_or_else(|| missing::run(id))?;
            if was == RunState::Failed {
                offer_work_again(connection, &Work::Train(id))?;
            }
            Ok(())
        })
        .await
    }

    async fn publish_model(&self, model: &Model) -> Result<(), StorageError> {
        let model = model.clone();
        self.write("insert", "models", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO models (id, created, record) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO UPDATE SET
                         created = excluded.created, record = excluded.record",
                )?
                .execute(params![model.id.to_string(), model.created, json(&model)?])?;
            Ok(())
        })
        .await
    }

    async fn model(&self, id: RunId) -> Result<Option<Model>, StorageError> {
        self.read("select", "models", move |connection| {
            record(connection, "models", &id.to_string())
        })
        .await
    }

    async fn models(&self, limit: usize) -> Result<Vec<Model>, StorageError> {
        self.read("select", "models", move |connection| {
            newest(connection, "models", limit)
        })
        .await
    }
}
