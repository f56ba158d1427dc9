//! The collections' table.

use std::collections::BTreeMap;

use async_trait::async_trait;
use maskline_messages::{CandidateState, CollectionName};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    SqliteCatalog,
    database::Failure,
    jobs::times_reopened,
    rows::{change_record, json, newest, record, record_of},
};
use crate::{
    catalog::{collections::Collections, missing},
    error::StorageError,
    records::{Collection, Dataset, Job, JobState, Settled, TrainingWish, Version},
};

#[async_trait]
impl Collections for SqliteCatalog {
    async fn create_collection(&self, collection: &Collection) -> Result<Collection, StorageError> {
        let collection = collection.clone();
        self.write("insert", "collections", move |connection| {
            let name = collection.name.as_str();
            connection
                .prepare_cached(
                    "INSERT INTO collections (id, created, record) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![name, collection.created, json(&collection)?])?;
            record(connection, "collections", name)?
                .ok_or_else(|| missing::collection(&collection.name).into())
        })
        .await
    }

    async fn collection(&self, name: &CollectionName) -> Result<Option<Collection>, StorageError> {
        let name = name.clone();
        self.read("select", "collections", move |connection| {
            record(connection, "collections", name.as_str())
        })
        .await
    }

    async fn collections(&self, limit: usize) -> Result<Vec<Collection>, StorageError> {
        self.read("select", "collections", move |connection| {
            newest(connection, "collections", limit)
        })
        .await
    }

    async fn jobs_of(&self, name: &CollectionName) -> Result<Vec<Job>, StorageError> {
        let name = name.clone();
        self.read("select", "jobs", move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT record FROM jobs WHERE collection = ?1 ORDER BY created, id",
            )?;
            select.query_and_then([name.as_str()], record_of)?.collect()
        })
        .await
    }

    async fn settled(&self, name: &CollectionName) -> Result<Option<Settled>, StorageError> {
        let name = name.clone();
        self.read("select", "candidates", move |connection| {
            let Some(generation) = generation(connection, &name)? else {
                return Ok(None);
            };
            let mut select = connection.prepare_cached(
                "SELECT record FROM jobs
                 WHERE collection = ?1 AND json_extract(record, '$.state') IN (?2, ?3, ?4)",
            )?;
            let open = [JobState::Expanding, JobState::Running, JobState::Failed];
            let [expanding, running, failed] = open.map(JobState::as_str);
            let open =
                select.query_and_then([name.as_str(), expanding, running, failed], record_of)?;
            let mut in_flight = connection
                .prepare_cached("SELECT 1 FROM candidates WHERE job = ?1 AND state = ?2 LIMIT 1")?;
            let mut jobs = BTreeMap::new();
            for job in open {
                let job: Job = job?;
                if job.is_removed() {
                    continue;
                }
                let id = job.id.to_string();
                let is_open = job.state == JobState::Expanding
                    || in_flight.exists([&id, CandidateState::InFlight.as_str()])?;
                if is_open {
                    return Ok(None);
                }
                if job.state == JobState::Running {
                    jobs.extend(times_reopened(connection, &id)?.map(|times| (job.id, times)));
                }
            }
            Ok(Some(Settled { generation, jobs }))
        })
        .await
    }

    async fn add_version(
        &self,
        dataset: &Dataset,
        settled: &Settled,
    ) -> Result<Option<Version>, StorageError> {
        let (dataset, settled) = (dataset.clone(), settled.clone());
        self.write("insert", "datasets", move |connection| {
            let name = &dataset.collection;
            match generation(connection, name)? {
                Some(generation) if generation == settled.generation => {}
                Some(_) => return Ok(None),
                None => return Err(missing::collection(name).into()),
            }
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
            let mut version = None;
            change_collection(connection, name, |collection| {
                version = Some(collection.add_version(&dataset));
            })?;
            Ok(version)
        })
        .await
    }

    async fn fail_freezing(
        &self,
        name: &CollectionName,
        error: &str,
        settled: &Settled,
    ) -> Result<(), StorageError> {
        let (name, error, settled) = (name.clone(), error.to_owned(), settled.clone());
        self.write("update", "collections", move |connection| {
            let is_as_settled = generation(connection, &name)? == Some(settled.generation);
            change_collection(connection, &name, |collection| {
                if is_as_settled {
                    collection.error = Some(error.clone());
                }
            })
        })
        .await
    }

    async fn request_training(
        &self,
        name: &CollectionName,
        wish: &TrainingWish,
    ) -> Result<(), StorageError> {
        let (name, wish) = (name.clone(), wish.clone());
        self.write("update", "collections", move |connection| {
            change_collection(connection, &name, |collection| {
                if collection.requests.iter().all(|there| there.id != wish.id) {
                    collection.requests.push(wish.clone());
                }
            })
        })
        .await
    }

    async fn finish_request(
        &self,
        name: &CollectionName,
        wish: &TrainingWish,
    ) -> Result<(), StorageError> {
        let (name, id) = (name.clone(), wish.id);
        self.write("update", "collections", move |connection| {
            change_collection(connection, &name, |collection| {
                collection.requests.retain(|there| there.id != id);
            })
        })
        .await
    }
}

/// Records that the collection is not any more what it was when it was settled.
pub(super) fn open_collection(
    connection: &Connection,
    name: &CollectionName,
) -> Result<(), Failure> {
    let opened = connection
        .prepare_cached("UPDATE collections SET generation = generation + 1 WHERE id = ?1")?
        .execute([name.as_str()])?;
    match opened {
        0 => Err(missing::collection(name).into()),
        _ => Ok(()),
    }
}

fn generation(connection: &Connection, name: &CollectionName) -> Result<Option<i64>, Failure> {
    let mut select =
        connection.prepare_cached("SELECT generation FROM collections WHERE id = ?1")?;
    Ok(select
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?)
}

pub(super) fn change_collection(
    connection: &Connection,
    name: &CollectionName,
    change: impl FnOnce(&mut Collection),
) -> Result<(), Failure> {
    change_record(connection, "collections", name.as_str(), change)?
        .ok_or_else(|| missing::collection(name).into())
}
