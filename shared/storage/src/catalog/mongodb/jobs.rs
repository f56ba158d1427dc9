//! The jobs' collection.

use async_trait::async_trait;
use maskline_messages::JobId;
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
        let set = doc! { "state": name_of(JobState::Running) };
        change_job(&self.database, job, JobState::Expanding, set).await
    }

    async fn fail_job(&self, job: JobId, error: &str) -> Result<(), StorageError> {
        let set = doc! { "state": name_of(JobState::Failed), "error": error };
        change_job(&self.database, job, JobState::Expanding, set).await
    }

    async fn reopen_expansion(&self, job: JobId, letter: &str) -> Result<(), StorageError> {
        if was_offered(&self.database, &Work::Freeze(job)).await? {
            return Ok(());
        }
        let failed = doc! { "_id": job.to_string(), "state": name_of(JobState::Failed) };
        let expanding = doc! { "state": name_of(JobState::Expanding), "replayed": letter };
        let update = doc! { "$set": expanding, "$unset": { "error": "" } };
        change_job_where(&self.database, job, failed, update).await
    }

    async fn settled(&self, job: JobId) -> Result<Option<Settled>, StorageError> {
        // The job first: once it is running no candidate is added any more.
        let running = doc! { "_id": job.to_string(), "state": name_of(JobState::Running) };
        let Some(running) = self.database.find_one(JOBS, running).await? else {
            return Ok(None);
        };
        let in_flight = CandidateState::InFlight.as_str();
        let filter = doc! { "job": job.to_string(), "state": in_flight };
        let query = Query::sorted(doc! {}).only(doc! { "_id": 1 }).at_most(1);
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
        // The dataset first: a job that is frozen has one.
        self.database.insert_once(DATASETS, dataset).await?;
        let set = doc! { "state": name_of(JobState::Frozen), "dataset": dataset.id.to_string() };
        change_settled(&self.database, job, settled, set).await
    }

    async fn fail_settled(
        &self,
        job: JobId,
        error: &str,
        settled: Settled,
    ) -> Result<(), StorageError> {
        let set = doc! { "state": name_of(JobState::Failed), "error": error };
        change_settled(&self.database, job, settled, set).await
    }
}

/// Changes a job that is in the state; [`StorageError::NotFound`] where there is
/// no such job.
async fn change_job(
    database: &Database,
    id: JobId,
    state: JobState,
    set: Document,
) -> Result<(), StorageError> {
    let in_state = doc! { "_id": id.to_string(), "state": name_of(state) };
    change_job_where(database, id, in_state, doc! { "$set": set }).await
}

/// Changes a job that is as it was settled.
async fn change_settled(
    database: &Database,
    id: JobId,
    settled: Settled,
    set: Document,
) -> Result<(), StorageError> {
    let as_settled = doc! {
        "_id": id.to_string(),
        "state": name_of(JobState::Running),
        "reopened": settled.reopened,
    };
    change_job_where(database, id, as_settled, doc! { "$set": set }).await
}

async fn change_job_where(
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

/// An expanded job is to be frozen once more, by whoever sees it settled from now on.
pub(super) async fn reopen_freezing(database: &Database, job: JobId) -> Result<(), StorageError> {
    let freezing = Work::Freeze(job);
    if !was_offered(database, &freezing).await? {
        return Ok(());
    }
    let states = [JobState::Running, JobState::Frozen, JobState::Failed].map(name_of);
    let expanded = doc! { "_id": job.to_string(), "state": { "$in": states.to_vec() } };
    let update = doc! {
        "$set": { "state": name_of(JobState::Running) },
        "$unset": { "error": "" },
        "$inc": { "reopened": 1_i64 },
    };
    database.update(JOBS, expanded, update).await?;
    // The job first: whoever ends the freezing before this has not ended it.
    reopen_work(database, &freezing).await
}

/// As it is serialized.
fn name_of(state: JobState) -> &'static str {
    match state {
        JobState::Expanding => "expanding",
        JobState::Running => "running",
        JobState::Frozen => "frozen",
        JobState::Failed => "failed",
    }
}
