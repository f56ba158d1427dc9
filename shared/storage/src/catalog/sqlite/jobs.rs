//! The jobs' table.

use async_trait::async_trait;
use maskline_messages::{CandidateState, JobId, lifecycle::Change};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    SqliteCatalog,
    database::Failure,
    leases::{reopen_work, was_offered},
    rows::{change_record, json, newest, record},
};
use crate::{
    catalog::{jobs::Jobs, missing},
    error::StorageError,
    records::{Dataset, Job, JobState, Settled, Work},
};

#[async_trait]
impl Jobs for SqliteCatalog {
    async fn create_job(&self, job: &Job) -> Result<(), StorageError> {
        let job = job.clone();
        self.write("insert", "jobs", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO jobs (id, created, record) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![job.id.to_string(), job.created, json(&job)?])?;
            Ok(())
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
            change_job(connection, job, JobState::FINISH_EXPANSION, |_| {})
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

    async fn reopen_expansion(&self, job: JobId, dead_letter: &str) -> Result<(), StorageError> {
        let dead_letter = dead_letter.to_owned();
        self.write("update", "jobs", move |connection| {
            if was_offered(connection, &Work::Freeze(job))? {
                return Ok(());
            }
            change_job(connection, job, JobState::REOPEN_EXPANSION, |job| {
                job.error = None;
                job.replayed = Some(dead_letter.clone());
            })
        })
        .await
    }

    async fn settled(&self, job: JobId) -> Result<Option<Settled>, StorageError> {
        let job = job.to_string();
        self.read("select", "candidates", move |connection| {
            match record::<Job>(connection, "jobs", &job)? {
                Some(record) if record.state == JobState::Running => {}
                _ => return Ok(None),
            }
            let any_in_flight = connection
                .prepare_cached("SELECT 1 FROM candidates WHERE job = ?1 AND state = ?2 LIMIT 1")?
                .exists([&job, CandidateState::InFlight.as_str()])?;
            if any_in_flight {
                return Ok(None);
            }
            let reopened = times_reopened(connection, &job)?;
            Ok(reopened.map(|reopened| Settled { reopened }))
        })
        .await
    }

    async fn freeze(
        &self,
        job: JobId,
        dataset: &Dataset,
        settled: Settled,
    ) -> Result<(), StorageError> {
        let dataset = dataset.clone();
        self.write("insert", "datasets", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO datasets (id, created, record) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![
                    dataset.id.to_string(),
                    dataset.created,
                    json(&dataset)?
                ])?;
            change_settled(connection, job, settled, JobState::FREEZE, |job| {
                job.dataset = Some(dataset.id);
            })
        })
        .await
    }

    async fn fail_settled(
        &self,
        job: JobId,
        error: &str,
        settled: Settled,
    ) -> Result<(), StorageError> {
        let error = error.to_owned();
        self.write("update", "jobs", move |connection| {
            change_settled(connection, job, settled, JobState::FAIL_FREEZING, |job| {
                job.error = Some(error.clone());
            })
        })
        .await
    }
}

/// Makes an expanded job running again, so that a process that sees it settled from now on can
/// freeze it once more. A job that is not expanded stays as it is.
pub(super) fn reopen_freezing(connection: &Connection, job: JobId) -> Result<(), Failure> {
    let freezing = Work::Freeze(job);
    if !was_offered(connection, &freezing)? {
        return Ok(());
    }
    connection
        .prepare_cached("UPDATE jobs SET reopened = reopened + 1 WHERE id = ?1")?
        .execute([job.to_string()])?;
    change_job(connection, job, JobState::REOPEN_FREEZING, |job| {
        job.error = None
    })?;
    reopen_work(connection, &freezing)
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
    settled: Settled,
    change: Change<JobState>,
    edit: impl FnOnce(&mut Job),
) -> Result<(), Failure> {
    if times_reopened(connection, &id.to_string())? == Some(settled.reopened) {
        return change_job(connection, id, change, edit);
    }
    match record::<Job>(connection, "jobs", &id.to_string())? {
        Some(_) => Ok(()),
        None => Err(missing::job(id).into()),
    }
}

/// How often a job was opened again. `None` if there is no such job.
fn times_reopened(connection: &Connection, job: &str) -> Result<Option<i64>, Failure> {
    let mut select = connection.prepare_cached("SELECT reopened FROM jobs WHERE id = ?1")?;
    Ok(select.query_row([job], |row| row.get(0)).optional()?)
}
