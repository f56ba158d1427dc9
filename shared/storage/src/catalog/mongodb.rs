//! The catalog in MongoDB, for services on any number of machines.
//!
//! Every verb is one write to one document, or several of which each may be the
//! last: no transactions. Documents are written by derived `_id`, and states change
//! by updates that say in which state they may find the document.

mod candidates;
mod connection;
mod database;
mod documents;
mod failure;
mod images;
mod jobs;
mod leases;
mod ledger;
mod library;
mod schema;

use async_trait::async_trait;

use self::{connection::Connection, database::Database};
use super::roles::Catalog;
use crate::error::StorageError;

/// The catalog in a database of MongoDB.
pub(super) struct MongodbCatalog {
    database: Database,
}

impl MongodbCatalog {
    /// Connects to the database of a `mongodb://` address, and makes its indexes
    /// where they are missing.
    pub async fn open(url: &str) -> Result<Self, StorageError> {
        let connection = Connection::to(url).await?;
        schema::prepare(&connection).await?;
        Ok(Self {
            database: Database { connection },
        })
    }
}

#[async_trait]
impl Catalog for MongodbCatalog {
    async fn ping(&self) -> Result<(), StorageError> {
        self.database.connection.ping().await
    }
}
