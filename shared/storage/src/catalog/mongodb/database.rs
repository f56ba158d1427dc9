//! The database: how all roles read and write documents.

use futures::TryStreamExt;
use mongodb::{
    Collection,
    bson::{Bson, Document, deserialize_from_document, doc},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    connection::Connection,
    documents::{damaged, document, record, records},
};
use crate::error::StorageError;

/// The most documents in one insert, and the most ids in one query.
pub(super) const BATCH: usize = 1_000;

/// A database whose documents are records, each under an `_id` of its own.
pub(super) struct Database {
    pub connection: Connection,
}

impl Database {
    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.connection.collection(name)
    }

    pub async fn find_one(
        &self,
        collection: &'static str,
        filter: Document,
    ) -> Result<Option<Document>, StorageError> {
        let documents = self.collection(collection);
        let finding = documents.find_one(filter);
        self.connection.run("find", collection, finding).await
    }

    /// Reads the record with this id.
    pub async fn by_id<T: DeserializeOwned>(
        &self,
        collection: &'static str,
        id: String,
    ) -> Result<Option<T>, StorageError> {
        let found = self.find_one(collection, doc! { "_id": id }).await?;
        found.map(record).transpose()
    }

    /// Fails with `missing` if there is no such document.
    pub async fn must_exist(
        &self,
        collection: &'static str,
        id: String,
        missing: StorageError,
    ) -> Result<(), StorageError> {
        let documents = self.collection(collection);
        let finding = documents
            .find_one(doc! { "_id": &id })
            .projection(doc! { "_id": 1 });
        let found = self.connection.run("find", collection, finding).await?;
        match found {
            Some(_) => Ok(()),
            None => Err(missing),
        }
    }

    pub async fn find(
        &self,
        collection: &'static str,
        filter: Document,
        query: Query,
    ) -> Result<Vec<Document>, StorageError> {
        if query.limit == Some(0) {
            // For MongoDB 0 means no limit.
            return Ok(vec![]);
        }
        let documents = self.collection(collection);
        let mut finding = documents.find(filter).sort(query.sort);
        if let Some(fields) = query.fields {
            finding = finding.projection(fields);
        }
        if let Some(limit) = query.limit {
            // Older servers read a limit as 32 bits, and the batch size is one more.
            let limit = i32::try_from(limit).unwrap_or(i32::MAX).min(i32::MAX - 1);
            // With this batch size the first answer contains everything.
            finding = finding
                .limit(limit.into())
                .batch_size(limit.unsigned_abs() + 1);
        }
        let finding = async { finding.await?.try_collect().await };
        self.connection.run("find", collection, finding).await
    }

    /// Reads at most `limit` records that match the filter, the newest first.
    pub async fn newest<T: DeserializeOwned>(
        &self,
        collection: &'static str,
        filter: Document,
        limit: usize,
    ) -> Result<Vec<T>, StorageError> {
        let query = Query::sorted(doc! { "created": -1, "_id": -1 }).limit(limit);
        records(self.find(collection, filter, query).await?)
    }

    /// Inserts the record. One that is there already stays as it is.
    pub async fn insert_once<T: Serialize>(
        &self,
        collection: &'static str,
        record: &T,
    ) -> Result<(), StorageError> {
        let mut fields = document(record)?;
        let id = fields.remove("_id");
        let update = doc! { "$setOnInsert": fields };
        self.upsert(collection, id.unwrap_or(Bson::Null), update)
            .await
    }

    pub async fn upsert(
        &self,
        collection: &'static str,
        id: impl Into<Bson>,
        update: Document,
    ) -> Result<(), StorageError> {
        let documents = self.collection(collection);
        let id = id.into();
        let attempt = || {
            documents
                .update_one(doc! { "_id": &id }, update.clone())
                .upsert(true)
        };
        let upserting = self.connection.upsert("update", collection, attempt);
        upserting.await.map(drop)
    }

    /// Writes the document, over one of the same `_id`.
    pub async fn replace(
        &self,
        collection: &'static str,
        document: Document,
    ) -> Result<(), StorageError> {
        let documents = self.collection(collection);
        let id = document.get("_id").cloned().unwrap_or(Bson::Null);
        let attempt = || {
            documents
                .replace_one(doc! { "_id": &id }, &document)
                .upsert(true)
        };
        let replacing = self.connection.upsert("update", collection, attempt);
        replacing.await.map(drop)
    }

    /// Groups the documents that match the filter, and reads the groups.
    pub async fn groups<T: DeserializeOwned>(
        &self,
        collection: &'static str,
        filter: Document,
        group: Document,
    ) -> Result<Vec<T>, StorageError> {
        let documents = self.collection(collection);
        let pipeline = [doc! { "$match": filter }, doc! { "$group": group }];
        let grouping = async { documents.aggregate(pipeline).await?.try_collect().await };
        let grouped = self.connection.run("aggregate", collection, grouping);
        let groups: Vec<Document> = grouped.await?;
        let groups = groups.into_iter().map(deserialize_from_document);
        groups.collect::<Result<_, _>>().map_err(damaged)
    }

    /// Removes all documents that match the filter.
    pub async fn delete(
        &self,
        collection: &'static str,
        filter: Document,
    ) -> Result<(), StorageError> {
        let documents = self.collection(collection);
        let deleting = documents.delete_many(filter);
        let deleted = self.connection.run("delete", collection, deleting).await?;
        tracing::debug!(collection, documents = deleted.deleted_count, "removed");
        Ok(())
    }

    /// Updates one document. Returns `false` if none matches the filter.
    pub async fn update(
        &self,
        collection: &'static str,
        filter: Document,
        update: Document,
    ) -> Result<bool, StorageError> {
        let documents = self.collection(collection);
        let updating = documents.update_one(filter, update);
        let updated = self.connection.run("update", collection, updating).await?;
        Ok(updated.matched_count > 0)
    }
}

/// The options of a search for documents, besides the filter.
pub(super) struct Query {
    sort: Document,
    fields: Option<Document>,
    limit: Option<usize>,
}

impl Query {
    pub fn sorted(sort: Document) -> Self {
        Self {
            sort,
            fields: None,
            limit: None,
        }
    }

    /// Reads only these fields, or all but these.
    pub fn only(self, fields: Document) -> Self {
        Self {
            fields: Some(fields),
            ..self
        }
    }

    pub fn limit(self, limit: usize) -> Self {
        Self {
            limit: Some(limit),
            ..self
        }
    }
}
