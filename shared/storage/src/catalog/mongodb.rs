//! The catalog in MongoDB, for services on any number of machines.
//!
//! There are no transactions. A method writes one document, or several, and the process may
//! die after any of them. Documents are written under derived `_id`s, and a state changes by
//! an update that says in which state it may find the document.
//!
//! Each role has a file of its own here. They share `connection` (the server), `database`
//! (reading and writing documents) and `documents` (records as documents). `schema` says what the
//! documents are, and `migrations` brings older ones to that.

mod candidates;
mod collections;
mod connection;
mod database;
mod documents;
mod failure;
mod images;
mod jobs;
mod leases;
mod ledger;
mod library;
mod migrations;
mod quotas;
mod removals;
mod schema;
mod studies;

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
    /// if they are missing.
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
