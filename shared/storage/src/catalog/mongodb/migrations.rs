//! The version of the documents, and the steps that bring older ones to it.
//!
//! A change of what [`super::schema`] describes is a new version, and a step here that makes the
//! same of the documents of the version before. Nothing keeps two processes from taking a step at
//! the same time, and each may die in the middle: so a step can be repeated, and only the version
//! is written on condition that it is still the one before.

use mongodb::{
    bson::{Document, doc},
    options::ReturnDocument,
};

use super::{connection::Connection, documents, schema::JOBS};
use crate::error::StorageError;

const VERSIONS: &str = "versions";

/// The version of the documents' shape.
const VERSION: i32 = 7;

/// The oldest version from which there are steps to this one.
const OLDEST: i32 = 5;

/// Brings the documents to this version. Those of another one, from which there are no steps, are
/// refused.
pub(super) async fn migrate(connection: &Connection) -> Result<(), StorageError> {
    loop {
        let found = found_version(connection).await?;
        match found.get_i32("version") {
            Ok(VERSION) => return Ok(()),
            Ok(version) if (OLDEST..VERSION).contains(&version) => {
                step_from(connection, version).await?;
                let versions = connection.collection(VERSIONS);
                let as_found = doc! { "_id": "catalog", "version": version };
                let next = doc! { "$set": { "version": version + 1 } };
                let updating = versions.update_one(as_found, next);
                connection.run("update", VERSIONS, updating).await?;
            }
            found => {
                let found =
                    found.map_or("something else".to_owned(), |version| version.to_string());
                let display_name = connection.display_name();
                return Err(StorageError::misconfigured(format!(
                    "the catalog was written by another version of maskline ({display_name}: found \
                     {found}, this build reads {VERSION}): use that version, or name another \
                     database"
                )));
            }
        }
    }
}

/// Takes the step from a version to the next.
async fn step_from(connection: &Connection, version: i32) -> Result<(), StorageError> {
    match version {
        // Sources, images and locations can be removed.
        5 => {
            let jobs = connection.collection(JOBS);
            let without = doc! { "purged": { "$exists": false } };
            let updating = jobs.update_many(without, doc! { "$set": { "purged": false } });
            connection.run("update", JOBS, updating).await.map(drop)
        }
        // Networks are tuned, in collections that are made with their first document. A build of
        // version 6 would not know that a trial is work.
        _ => Ok(()),
    }
}

/// The document with the version. A new database gets this version.
async fn found_version(connection: &Connection) -> Result<Document, StorageError> {
    let versions = connection.collection(VERSIONS);
    let found = connection
        .upsert("findAndModify", VERSIONS, || {
            versions
                .find_one_and_update(
                    doc! { "_id": "catalog" },
                    doc! { "$setOnInsert": { "version": VERSION } },
                )
                .upsert(true)
                .return_document(ReturnDocument::After)
        })
        .await?;
    found.ok_or_else(|| documents::damaged("its version is missing"))
}
