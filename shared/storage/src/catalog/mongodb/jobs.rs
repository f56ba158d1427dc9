//! The jobs' collection.

use async_trait::async_trait;
use maskline_messages::{JobId, lifecycle::Change};
use mongodb::bson::{Document, doc};

use super::{
    MongodbCatalog,
    collections::open_collection,
    database::Database,
    documents::{bson, document},
    leases::offer_work_again,
    schema::{COLLECTIONS, JOBS},
};
use crate::{
    catalog::{jobs::Jobs, missing},
    error::StorageError,
    records::{Job, JobState, Pause, Settled, Version, Work},
};

#[async_trait]
impl Jobs for MongodbCatalog {
    async fn create_job(&self, job: &Job) -> Result<(), StorageError> {
        let name = &job.collection;
        self.database
            .must_exist(COLLECTIONS, name.to_string(), missing::collection(name))
            .await?;
        let mut new = document(job)?;
        new.insert("reopened", 0_i64);
        self.database.insert_once(JOBS, &new).await?;
        // The job comes first: a proof that is given from now on knows it, and an earlier one
        // does not count any more.
        open_collection(&self.database, name).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError> {
        self.database.by_id(JOBS, id.to_string()).await
    }

    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, StorageError> {
        self.database.newest(JOBS, doc! {}, limit).await
    }

    async fn finish_expansion(&self, job: JobId) -> Result<(), StorageError> {
        let update = change_to(JobState::FINISH_EXPANSION, doc! { "expanded": true });
        let filter = before(JobState::FINISH_EXPANSION, job);
        change_job(&self.database, job, filter, update).await
    }

    async fn fail_job(&self, job: JobId, error: &str) -> Result<(), StorageError> {
        let update = change_to(JobState::FAIL_EXPANSION, doc! { "error": error });
        let filter = before(JobState::FAIL_EXPANSION, job);
        change_job(&self.database, job, filter, update).await
    }

    async fn pause_expansion(&self, job: JobId, pause: &Pause) -> Result<(), StorageError> {
        let update = change_to(JobState::PAUSE_EXPANSION, doc! { "pause": bson(pause)? });
        let filter = before(JobState::PAUSE_EXPANSION, job);
        change_job(&self.database, job, filter, update).await
    }

    async fn reopen_expansion(&self, job: JobId, dead_letter: &str) -> Result<(), StorageError> {
        let mut update = change_to(JobState::REOPEN_EXPANSION, doc! { "replayed": dead_letter });
        update.insert("$unset", doc! { "error": "" });
        let mut filter = before(JobState::REOPEN_EXPANSION, job);
        filter.insert("expanded", false);
        let recorded: Option<Job> = self.database.by_id(JOBS, job.to_string()).await?;
        let recorded = recorded.ok_or_else(|| missing::job(job))?;
        if !recorded.expanded {
            // Before the change, so that a call that is repeated opens it, too.
            open_collection(&self.database, &recorded.collection).await?;
        }
        change_job(&self.database, job, filter, update).await
    }

    async fn freeze(
        &self,
        job: JobId,
        version: &Version,
        settled: &Settled,
    ) -> Result<(), StorageError> {
        let frozen = doc! {
            "dataset": version.dataset.to_string(),
            "version": i64::from(version.number),
        };
        let update = change_to(JobState::FREEZE, frozen);
        let filter = before_settled(JobState::FREEZE, job, settled);
        change_job(&self.database, job, filter, update).await
    }

    async fn fail_settled(
        &self,
        job: JobId,
        error: &str,
        settled: &Settled,
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
fn before_settled(change: Change<JobState>, job: JobId, settled: &Settled) -> Document {
    let mut filter = before(change, job);
    // A job that was not among the settled ones has no such number.
    let reopened = settled.jobs.get(&job).copied().unwrap_or(-1);
    filter.insert("reopened", reopened);
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

/// Makes an expanded job running again, so that a process that sees its collection settled from
/// now on can freeze it once more. A job that is not expanded stays as it is.
pub(super) async fn reopen_freezing(database: &Database, id: JobId) -> Result<(), StorageError> {
    let Some(job) = database.by_id::<Job>(JOBS, id.to_string()).await? else {
        return Ok(());
    };
    open_collection(database, &job.collection).await?;
    if !job.expanded {
        return Ok(());
    }
    let mut update = change_to(JobState::REOPEN_FREEZING, doc! {});
    update.insert("$unset", doc! { "error": "" });
    update.insert("$inc", doc! { "reopened": 1_i64 });
    let expanded = before(JobState::REOPEN_FREEZING, id);
    database.update(JOBS, expanded, update).await?;
    // The job comes first. A holder that finishes the work in between finishes the earlier
    // freezing, and the work is offered again after that.
    if job.is_frozen_by_itself() {
        offer_work_again(database, &Work::Freeze(job.collection)).await?;
    }
    Ok(())
}
