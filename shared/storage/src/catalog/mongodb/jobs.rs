//! The jobs' collection.

use async_trait::async_trait;
use maskline_messages::{JobId, lifecycle::Change};
use mongodb::bson::{Document, doc};

use super::{
    MongodbCatalog,
    database::{Database, Query},
    documents::{damaged, document},
    leases::{reopen_work, was_offered},
    schema::{CANDIDATES, DATASETS, JOBS},
};
use crate::{
    catalog::{jobs::Jobs, missing},
    error::StorageError,
    records::{CandidateState, Dataset, Job, JobState, Settled, Work},
};

#[async_trait]
impl Jobs for MongodbCatalog {
    async fn create_job(&self, job: &Job) -> Result<(), StorageError> {
        let mut job = document(job)?;
        job.insert("reopened", 0_i64);
        self.database.insert_once(JOBS, &job).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError> {
        self.database.by_id(JOBS, id.to_string()).await
    }

    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, StorageError> {
        self.database.newest(JOBS, doc! {}, limit).await
    }

    async fn finish_expansion(&self, job: JobId) -> Result<(), StorageError> {
        let update = change_to(JobState::FINISH_EXPANSION, doc! {});
        let filter = before(JobState::FINISH_EXPANSION, job);
        change_job(&self.database, job, filter, update).await
    }

    async fn fail_job(&self, job: JobId, error: &str) -> Result<(), StorageError> {
        let update = change_to(JobState::FAIL_EXPANSION, doc! { "error": error });
        let filter = before(JobState::FAIL_EXPANSION, job);
        change_job(&self.database, job, filter, update).await
    }

    async fn reopen_expansion(&self, job: JobId, dead_letter: &str) -> Result<(), StorageError> {
        if was_offered(&self.database, &Work::Freeze(job)).await? {
            return Ok(());
        }
        let mut update = change_to(JobState::REOPEN_EXPANSION, doc! { "replayed": dead_letter });
        update.insert("$unset", doc! { "error": "" });
        let filter = before(JobState::REOPEN_EXPANSION, job);
        change_job(&self.database, job, filter, update).await
    }

    async fn settled(&self, job: JobId) -> Result<Option<Settled>, StorageError> {
        // The job comes first: once it is running, no candidate is added any more.
        let running = doc! { "_id": job.to_string(), "state": JobState::Running.as_str() };
        let Some(running) = self.database.find_one(JOBS, running).await? else {
            return Ok(None);
        };
        let in_flight = CandidateState::InFlight.as_str();
        let filter = doc! { "job": job.to_string(), "state": in_flight };
        let query = Query::sorted(doc! {}).only(doc! { "_id": 1 }).limit(1);
        if !self
            .database
            .find(CANDIDATES, filter, query)
            .await?
            .is_empty()
        {
            return Ok(None);
        }
        let reopened = running.get_i64("reopened").map_err(damaged)?;
        Ok(Some(Settled { reopened }))
    }

    async fn freeze(
        &self,
        job: JobId,
        dataset: &Dataset,
        settled: Settled,
    ) -> Result<(), StorageError> {
        // The dataset comes first, so that a frozen job always has one.
        self.database.insert_once(DATASETS, dataset).await?;
        let update = change_to(JobState::FREEZE, doc! { "dataset": dataset.id.to_string() });
        let filter = before_settled(JobState::FREEZE, job, settled);
        change_job(&self.database, job, filter, update).await
    }

    async fn fail_settled(
        &self,
        job: JobId,
        error: &str,
        settled: Settled,
    ) -> Result<(), StorageError> {
        let update = change_to(JobState::FAIL_FREEZING, doc! { "error": error });
        let filter = before_settled(JobState::FAIL_FREEZING, job, settled);
        change_job(&self.database, job, filter, update).await
    }
}

/// A filter for the job, if the change applies to the state that it is in.
fn before(change: Change<JobState>, job: JobId) -> Document {
    let states: Vec<_> = change.from.iter().map(|state| state.as_str()).collect();
    doc! { "_id": job.to_string(), "state": { "$in": states } }
}

/// A filter as [`before`] makes it, which finds the job only if it was not opened again since it
/// was settled.
fn before_settled(change: Change<JobState>, job: JobId, settled: Settled) -> Document {
    let mut filter = before(change, job);
    filter.insert("reopened", settled.reopened);
    filter
}

/// The update that makes the change of state and sets the fields `set`.
fn change_to(change: Change<JobState>, mut set: Document) -> Document {
    set.insert("state", change.to.as_str());
    doc! { "$set": set }
}

/// Updates the job if the filter finds it. The error is `NotFound` if there is no such job.
async fn change_job(
    database: &Database,
    id: JobId,
    filter: Document,
    update: Document,
) -> Result<(), StorageError> {
    if database.update(JOBS, filter, update).await? {
        return Ok(());
    }
    database
        .must_exist(JOBS, id.to_string(), missing::job(id))
        .await
}

/// Makes an expanded job running again, so that a process that sees it settled from now on can
/// freeze it once more. A job that is not expanded stays as it is.
pub(super) async fn reopen_freezing(database: &Database, job: JobId) -> Result<(), StorageError> {
    let freezing = Work::Freeze(job);
    if !was_offered(database, &freezing).await? {
        return Ok(());
    }
    let mut update = change_to(JobState::REOPEN_FREEZING, doc! {});
    update.insert("$unset", doc! { "error": "" });
    update.insert("$inc", doc! { "reopened": 1_i64 });
    let expanded = before(JobState::REOPEN_FREEZING, job);
    database.update(JOBS, expanded, update).await?;
    // The job comes first. A holder that finishes the work in between finishes the earlier
    // freezing, and the work is opened again after that.
    reopen_work(database, &freezing).await
}
