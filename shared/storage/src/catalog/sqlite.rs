//! The catalog in one SQLite file, for the processes of one machine.
//!
//! Each role has a file of its own here. They share `database` (the file and its
//! connections) and `rows` (records as rows).

mod candidates;
mod collections;
mod database;
mod images;
mod jobs;
mod leases;
mod library;
mod migrations;
mod quotas;
mod removals;
mod rows;
mod studies;

use std::path::Path;

use async_trait::async_trait;
use rusqlite::Connection;

use self::database::{Database, Failure};
use super::{roles::Catalog, span::Target};
use crate::error::StorageError;

/// The catalog in a file. Several processes may have the same file open.
pub(super) struct SqliteCatalog {
    database: Database,
    target: Target,
}

impl SqliteCatalog {
    /// Opens the file, or makes it with its folder.
    pub async fn open(path: &Path) -> Result<Self, StorageError> {
        let target = Target {
            system: "sqlite",
            namespace: path.display().to_string(),
            server: None,
        };
        let path = path.to_owned();
        let opening = tokio::task::spawn_blocking(move || Database::open(&path));
        let unfinished = "opening the catalog did not come to an end";
        let opened = opening.await;
        let database = opened.map_err(|e| StorageError::internal(unfinished).caused_by(e))??;
        Ok(Self { database, target })
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        table: &'static str,
        work: impl FnMut(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StorageError> {
        let work = self.database.write(work);
        self.target.traced(operation, table, work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        table: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StorageError> {
        let work = self.database.read(work);
        self.target.traced(operation, table, work).await
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn ping(&self) -> Result<(), StorageError> {
        self.read("select", "jobs", |connection| {
            connection
                .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM jobs LIMIT 1)")?
                .query_row([], |_| Ok(()))?;
            Ok(())
        })
        .await
    }
}
