//! The jobs' table.

use async_trait::async_trait;
use maskline_messages::{JobId, lifecycle::Change};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    SqliteCatalog,
    collections::open_collection,
    database::Failure,
    leases::offer_work_again,
    rows::{change_record, json, newest, record},
};
use crate::{
    catalog::{jobs::Jobs, missing},
    error::StorageError,
    records::{Job, JobState, Pause, Settled, Version, Work},
};

#[async_trait]
impl Jobs for SqliteCatalog {
    async fn create_job(&self, job: &Job) -> Result<(), StorageError> {
        let job = job.clone();
        self.write("insert", "jobs", move |connection| {
            let created = connection
                .prepare_cached(
                    "INSERT INTO jobs (id, collection, created, record) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![
                    job.id.to_string(),
                    job.collection.as_str(),
                    job.created,
                    json(&job)?
                ])?;
            if created == 0 {
                return Ok(());
            }
            open_collection(connection, &job.collection)
        })
        .await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError> {
        self.read("select", "jobs", move |connection| {
            record(connection, "jobs", &id.to_string())
        })
        .await
    }

    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, StorageError> {
        self.read("select", "jobs", move |connection| {
            newest(connection, "jobs", limit)
        })
        .await
    }

    async fn finish_expansion(&self, job: JobId) -> Result<(), StorageError> {
        self.write("update", "jobs", move |connection| {
            change_job(connection, job, JobState::FINISH_EXPANSION, |job| {
                job.expanded = true;
            })
        })
        .await
    }

    async fn fail_job(&self, job: JobId, error: &str) -> Result<(), StorageError> {
        let error = error.to_owned();
        self.write("update", "jobs", move |connection| {
            change_job(connection, job, JobState::FAIL_EXPANSION, |job| {
                job.error = Some(error.clone());
            })
        })
        .await
    }

    async fn pause_expansion(&self, job: JobId, pause: &Pause) -> Result<(), StorageError> {
        let pause = pause.clone();
        self.write("update", "jobs", move |connection| {
            change_job(connection, job, JobState::PAUSE_EXPANSION, |job| {
                job.pause = Some(pause.clone());
            })
        })
        .await
    }

    async fn reopen_expansion(&self, job: JobId, dead_letter: &str) -> Result<(), StorageError> {
        let dead_letter = dead_letter.to_owned();
        self.write("update", "jobs", move |connection| {
            let recorded: Option<Job> = record(connection, "jobs", &job.to_string())?;
            let recorded = recorded.ok_or_else(|| missing::job(job))?;
            if recorded.expanded {
                return Ok(());
            }
            if JobState::REOPEN_EXPANSION.applies_to(recorded.state) {
                open_collection(connection, &recorded.collection)?;
            }
            change_job(connection, job, JobState::REOPEN_EXPANSION, |job| {
                job.error = None;
                job.replayed = Some(dead_letter.clone());
            })
        })
        .await
    }

    async fn freeze(
        &self,
        job: JobId,
        version: &Version,
        settled: &Settled,
    ) -> Result<(), StorageError> {
        let (version, settled) = (version.clone(), settled.clone());
        self.write("update", "jobs", move |connection| {
            change_settled(connection, job, &settled, JobState::FREEZE, |job| {
                job.dataset = Some(version.dataset);
                job.version = Some(version.number);
            })
        })
        .await
    }

    async fn fail_settled(
        &self,
        job: JobId,
        error: &str,
        settled: &Settled,
    ) -> Result<(), StorageError> {
        let (error, settled) = (error.to_owned(), settled.clone());
        self.write("update", "jobs", move |connection| {
            change_settled(connection, job, &settled, JobState::FAIL_FREEZING, |job| {
                job.error = Some(error.clone());
            })
        })
        .await
    }
}

/// Makes an expanded job running again, so that a process that sees its collection settled from
/// now on can freeze it once more. A job that is not expanded stays as it is.
pub(super) fn reopen_freezing(connection: &Connection, id: JobId) -> Result<(), Failure> {
    let Some(job) = record::<Job>(connection, "jobs", &id.to_string())? else {
        return Ok(());
    };
    open_collection(connection, &job.collection)?;
    if !job.expanded {
        return Ok(());
    }
    connection
        .prepare_cached("UPDATE jobs SET reopened = reopened + 1 WHERE id = ?1")?
        .execute([id.to_string()])?;
    change_job(connection, id, JobState::REOPEN_FREEZING, |job| {
        job.error = None
    })?;
    if job.is_frozen_by_itself() {
        offer_work_again(connection, &Work::Freeze(job.collection))?;
    }
    Ok(())
}

/// Changes a job's state, and with it what `edit` changes.
fn change_job(
    connection: &Connection,
    id: JobId,
    change: Change<JobState>,
    edit: impl FnOnce(&mut Job),
) -> Result<(), Failure> {
    change_record(connection, "jobs", &id.to_string(), |job: &mut Job| {
        if change.applies_to(job.state) {
            job.state = change.to;
            edit(job);
        }
    })?
    .ok_or_else(|| missing::job(id).into())
}

/// Does what [`change_job`] does, but only if the job was not opened again since it was settled.
fn change_settled(
    connection: &Connection,
    id: JobId,
    settled: &Settled,
    change: Change<JobState>,
    edit: impl FnOnce(&mut Job),
) -> Result<(), Failure> {
    let reopened = settled.jobs.get(&id).copied();
    if reopened.is_some() && times_reopened(connection, &id.to_string())? == reopened {
        return change_job(connection, id, change, edit);
    }
    match record::<Job>(connection, "jobs", &id.to_string())? {
        Some(_) => Ok(()),
        None => Err(missing::job(id).into()),
    }
}

/// How often a job was opened again. `None` if there is no such job.
pub(super) fn times_reopened(connection: &Connection, job: &str) -> Result<Option<i64>, Failure> {
    let mut select = connection.prepare_cached("SELECT reopened FROM jobs WHERE id = ?1")?;
    Ok(select.query_row([job], |row| row.get(0)).optional()?)
}
