//! The jobs' table.

use async_trait::async_trait;
use maskline_messages::JobId;
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

impl SqliteCatalog {
    /// Changes a job as it is now; [`StorageError::NotFound`] where there is none.
    async fn change_job(
        &self,
        id: JobId,
        change: impl FnOnce(&mut Job) + Send + 'static,
    ) -> Result<(), StorageError> {
        self.write("update", "jobs", move |connection| {
            change_record(connection, "jobs", &id.to_string(), change)?
                .ok_or_else(|| missing::job(id).into())
        })
        .await
    }
}

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
        self.change_job(job, |job| {
            if job.state == JobState::Expanding {
                job.state = JobState::Running;
            }
        })
        .await
    }

    async fn fail_job(&self, job: JobId, error: &str) -> Result<(), StorageError> {
        let error = error.to_owned();
        self.change_job(job, move |job| {
            if job.state == JobState::Expanding {
                job.state = JobState::Failed;
                job.error = Some(error);
            }
        })
        .await
    }

    async fn reopen_expansion(&self, job: JobId, letter: &str) -> Result<(), StorageError> {
        let letter = letter.to_owned();
        self.write("update", "jobs", move |connection| {
            if was_offered(connection, &Work::Freeze(job))? {
                return Ok(());
            }
            change_record(connection, "jobs", &job.to_string(), |job: &mut Job| {
                if job.state == JobState::Failed {
                    job.state = JobState::Expanding;
                    job.error = None;
                    job.replayed = Some(letter);
                }
            })?
            .ok_or_else(|| missing::job(job).into())
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
                .prepare_cached(
                    "SELECT 1 FROM candidates WHERE job = ?1 AND state = 'in_flight' LIMIT 1",
                )?
                .exists([&job])?;
            if any_in_flight {
                return Ok(None);
            }
            let reopened = times_reopened(connection, &job)?;
            Ok(Some(Settled { reopened }))
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
            change_settled(connection, job, settled, |job| {
                job.state = JobState::Frozen;
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
            change_settled(connection, job, settled, |job| {
                job.state = JobState::Failed;
                job.error = Some(error);
            })
        })
        .await
    }
}

/// An expanded job is to be frozen once more, by whoever sees it settled from now on.
pub(super) fn reopen_freezing(connection: &Connection, job: JobId) -> Result<(), Failure> {
    let freezing = Work::Freeze(job);
    if !was_offered(connection, &freezing)? {
        return Ok(());
    }
    let id = job.to_string();
    connection
        .prepare_cached("UPDATE jobs SET reopened = reopened + 1 WHERE id = ?1")?
        .execute([&id])?;
    change_record(connection, "jobs", &id, |job: &mut Job| {
        if matches!(job.state, JobState::Frozen | JobState::Failed) {
            job.state = JobState::Running;
            job.error = None;
        }
    })?;
    reopen_work(connection, &freezing)
}

/// Changes a job that is as it was settled.
fn change_settled(
    connection: &Connection,
    id: JobId,
    settled: Settled,
    change: impl FnOnce(&mut Job),
) -> Result<(), Failure> {
    let key = id.to_string();
    let as_settled = times_reopened(connection, &key)? == settled.reopened;
    change_record(connection, "jobs", &key, |job: &mut Job| {
        if as_settled && job.state == JobState::Running {
            change(job);
        }
    })?
    .ok_or_else(|| missing::job(id).into())
}

/// How often a job was opened again; one that does not exist never was.
fn times_reopened(connection: &Connection, job: &str) -> Result<i64, Failure> {
    let mut select = connection.prepare_cached("SELECT reopened FROM jobs WHERE id = ?1")?;
    let times = select.query_row([job], |row| row.get(0)).optional()?;
    Ok(times.unwrap_or_default())
}
