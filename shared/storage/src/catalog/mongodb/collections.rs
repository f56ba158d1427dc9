//! The collections' documents.

use std::collections::BTreeMap;

use async_trait::async_trait;
use maskline_messages::CollectionName;
use mongodb::bson::{Document, doc};

use super::{
    MongodbCatalog,
    database::{Database, Query},
    documents::{bson, damaged, document, record, records},
    schema::{CANDIDATES, COLLECTIONS, DATASETS, JOBS},
};
use crate::{
    catalog::{collections::Collections, missing},
    error::StorageError,
    records::{CandidateState, Collection, Dataset, Job, JobState, Settled, TrainingWish, Version},
};

#[async_trait]
impl Collections for MongodbCatalog {
    async fn create_collection(&self, collection: &Collection) -> Result<Collection, StorageError> {
        let mut new = document(collection)?;
        new.insert("generation", 0_i64);
        self.database.insert_once(COLLECTIONS, &new).await?;
        let recorded = self.collection(&collection.name).await?;
        recorded.ok_or_else(|| missing::collection(&collection.name))
    }

    async fn collection(&self, name: &CollectionName) -> Result<Option<Collection>, StorageError> {
        self.database.by_id(COLLECTIONS, name.to_string()).await
    }

    async fn collections(&self, limit: usize) -> Result<Vec<Collection>, StorageError> {
        self.database.newest(COLLECTIONS, doc! {}, limit).await
    }

    async fn jobs_of(&self, name: &CollectionName) -> Result<Vec<Job>, StorageError> {
        let filter = doc! { "collection": name.as_str() };
        let query = Query::sorted(doc! { "created": 1, "_id": 1 });
        records(self.database.find(JOBS, filter, query).await?)
    }

    async fn settled(&self, name: &CollectionName) -> Result<Option<Settled>, StorageError> {
        // The generation comes first: what is opened after this makes it another.
        let Some(collection) = self.database.find_one(COLLECTIONS, key(name)).await? else {
            return Ok(None);
        };
        let generation = collection.get_i64("generation").map_err(damaged)?;
        let mut jobs = BTreeMap::new();
        // A query is no snapshot, and a job that changes its state meanwhile can be missed. So the
        // states are asked for one after the other, in the order in which a job has them.
        for state in [JobState::Expanding, JobState::Running, JobState::Failed] {
            let open = doc! { "collection": name.as_str(), "state": state.as_str() };
            let query = Query::sorted(doc! { "_id": 1 });
            for found in self.database.find(JOBS, open, query).await? {
                let reopened = found.get_i64("reopened").map_err(damaged)?;
                let job: Job = record(found)?;
                if job.is_removed() {
                    continue;
                }
                // The job comes before its candidates: once it is running, none is added any
                // more.
                let is_open =
                    state == JobState::Expanding || any_in_flight(&self.database, &job).await?;
                if is_open {
                    return Ok(None);
                }
                if state == JobState::Running {
                    jobs.insert(job.id, reopened);
                }
            }
        }
        Ok(Some(Settled { generation, jobs }))
    }

    async fn add_version(
        &self,
        dataset: &Dataset,
        settled: &Settled,
    ) -> Result<Option<Version>, StorageError> {
        let name = &dataset.collection;
        loop {
            let found = self.database.find_one(COLLECTIONS, key(name)).await?;
            let found = found.ok_or_else(|| missing::collection(name))?;
            let generation = found.get_i64("generation").map_err(damaged)?;
            let mut collection: Collection = record(found)?;
            if generation != settled.generation {
                return Ok(None);
            }
            let before = collection.versions.len();
            let version = collection.add_version(dataset);
            let is_new = collection.versions.len() > before;
            let mut update = doc! { "$unset": { "error": "" } };
            if is_new {
                // The dataset comes first, so that a version always has one.
                self.database.replace(DATASETS, document(dataset)?).await?;
                update.insert("$push", doc! { "versions": bson(&version)? });
            }
            // Whoever adds a version at the same time makes this find nothing.
            let size = i32::try_from(before).unwrap_or(i32::MAX);
            let mut as_seen = key(name);
            as_seen.insert("generation", settled.generation);
            as_seen.insert("versions", doc! { "$size": size });
            if self.database.update(COLLECTIONS, as_seen, update).await? {
                return Ok(Some(version));
            }
        }
    }

    async fn fail_freezing(
        &self,
        name: &CollectionName,
        error: &str,
        settled: &Settled,
    ) -> Result<(), StorageError> {
        let mut as_settled = key(name);
        as_settled.insert("generation", settled.generation);
        let update = doc! { "$set": { "error": error } };
        if self
            .database
            .update(COLLECTIONS, as_settled, update)
            .await?
        {
            return Ok(());
        }
        self.must_find(name).await.map(drop)
    }

    async fn request_training(
        &self,
        name: &CollectionName,
        wish: &TrainingWish,
    ) -> Result<(), StorageError> {
        let mut without = key(name);
        without.insert("requests.id", doc! { "$ne": wish.id.to_string() });
        let update = doc! { "$push": { "requests": bson(wish)? } };
        if self.database.update(COLLECTIONS, without, update).await? {
            return Ok(());
        }
        self.must_find(name).await.map(drop)
    }

    async fn finish_request(
        &self,
        name: &CollectionName,
        wish: &TrainingWish,
    ) -> Result<(), StorageError> {
        let update = doc! { "$pull": { "requests": { "id": wish.id.to_string() } } };
        if self.database.update(COLLECTIONS, key(name), update).await? {
            return Ok(());
        }
        Err(missing::collection(name))
    }
}

impl MongodbCatalog {
    async fn must_find(&self, name: &CollectionName) -> Result<Collection, StorageError> {
        let found = self.database.by_id(COLLECTIONS, name.to_string()).await?;
        found.ok_or_else(|| missing::collection(name))
    }
}

/// Records that the collection is not any more what it was when it was settled.
pub(super) async fn open_collection(
    database: &Database,
    name: &CollectionName,
) -> Result<(), StorageError> {
    let update = doc! { "$inc": { "generation": 1_i64 } };
    match database.update(COLLECTIONS, key(name), update).await? {
        true => Ok(()),
        false => Err(missing::collection(name)),
    }
}

pub(super) fn key(name: &CollectionName) -> Document {
    doc! { "_id": name.as_str() }
}

async fn any_in_flight(database: &Database, job: &Job) -> Result<bool, StorageError> {
    let in_flight = CandidateState::InFlight.as_str();
    let filter = doc! { "job": job.id.to_string(), "state": in_flight };
    let query = Query::sorted(doc! {}).only(doc! { "_id": 1 }).limit(1);
    Ok(!database.find(CANDIDATES, filter, query).await?.is_empty())
}
