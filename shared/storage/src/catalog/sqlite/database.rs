//! The file and its connections: one writer and a few readers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use maskline_foundation::sqlite::{self, Format, OpenError, WriteError, Writer};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::migrations::{MIGRATIONS, VERSION};
use crate::error::StorageError;

/// Identifies a catalog of maskline among other databases. The application id is "mask" in
/// ASCII.
const FORMAT: Format = Format {
    application_id: 0x6d61_736b,
    version: VERSION,
    schema: include_str!("schema.sql"),
    migrations: &MIGRATIONS,
};

/// The number of connections that read at the same time.
const READERS: usize = 4;

/// Why work on a connection failed.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

pub(super) struct Database {
    path: PathBuf,
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
    reading: Semaphore,
}

impl Database {
    /// Opens the file, or makes it. This blocks the thread. The drop waits for the last commit.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let writer = sqlite::open(path, &FORMAT).and_then(|connection| {
            // What is deleted is overwritten: a person may have asked for that.
            connection.pragma_update(None, "secure_delete", true)?;
            Writer::start(connection, "catalog-writer").map_err(OpenError::Thread)
        });
        Ok(Self {
            path: path.to_owned(),
            writer: writer.map_err(|error| unusable(error, path))?,
            readers: Mutex::new(vec![]),
            reading: Semaphore::new(READERS),
        })
    }

    /// Does `work` in a transaction. What it did is durable when this returns. `work` that
    /// fails leaves nothing behind.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StorageError> {
        let written = self.writer.write(work).await;
        written.map_err(|error| match error {
            WriteError::Job(failure) => explain(failure, &self.path),
            WriteError::Transaction(error) => explained(error, &self.path),
            WriteError::Closed => StorageError::internal("the catalog's writer has ended"),
        })
    }

    /// Moves the write-ahead log into the file and empties it, as far as no reader is in the way.
    /// Returns `false` if one was. This blocks the thread.
    pub fn empty_log(path: &Path) -> Result<bool, StorageError> {
        let emptied = || -> rusqlite::Result<bool> {
            let mut connection = Connection::open(path)?;
            sqlite::configure(&mut connection)?;
            let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                row.get::<_, i64>(0)
            })?;
            Ok(busy == 0)
        };
        emptied().map_err(|error| explained(Arc::new(error), path))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does `work` on one consistent state of the file.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StorageError> {
        let _permit = self.reading.acquire().await.expect("it is never closed");
        let pooled = self.readers.lock().pop();
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || {
            let read = || {
                let mut reader = match pooled {
                    Some(reader) => reader,
                    None => open_reader(&path)?,
                };
                let transaction = reader.transaction()?;
                let value = work(&transaction)?;
                drop(transaction);
                Ok((reader, value))
            };
            read().map_err(|failure| explain(failure, &path))
        });
        let (reader, value) = done.await.map_err(|e| {
            StorageError::internal("reading the catalog did not come to an end").caused_by(e)
        })??;
        self.readers.lock().push(reader);
        Ok(value)
    }
}

fn open_reader(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut reader = Connection::open_with_flags(path, flags)?;
    sqlite::configure(&mut reader)?;
    reader.pragma_update(None, "query_only", true)?;
    Ok(reader)
}

/// Why the file can't be opened, and what can be done.
fn unusable(error: OpenError, path: &Path) -> StorageError {
    let file = path.display();
    match error {
        OpenError::Sqlite(error) => explained(Arc::new(error), path),
        OpenError::Thread(error) => {
            StorageError::unavailable("there is no thread for the catalog").caused_by(error)
        }
        OpenError::Folder { folder, source } => StorageError::misconfigured(format!(
            "{} can't be made: choose another folder for the catalog",
            folder.display()
        ))
        .caused_by(source),
        OpenError::File { source, .. } => StorageError::misconfigured(format!(
            "{file} can't be made: check the folder's permissions"
        ))
        .caused_by(source),
        OpenError::NoWriteAheadLog { .. } => StorageError::misconfigured(format!(
            "{file} can't be a catalog: put the catalog on a local disk"
        ))
        .caused_by(error),
        OpenError::Foreign => StorageError::misconfigured(format!(
            "{file} is a database, but not of maskline: choose another file for the catalog"
        )),
        OpenError::Migration { from, source } => StorageError::internal(format!(
            "{file} can't be brought from version {from} to version {VERSION}: nothing in it was \
             changed"
        ))
        .caused_by(source),
        OpenError::OtherVersion { found } => StorageError::misconfigured(format!(
            "the data folder was written by another version of maskline \
             ({file}: found {found}, this build reads {VERSION}): use that version, \
             or move the folder away and start with an empty one"
        )),
    }
}

fn explain(failure: Failure, path: &Path) -> StorageError {
    match failure {
        Failure::Storage(error) => error,
        Failure::Sqlite(error) => explained(Arc::new(error), path),
    }
}

fn full(path: &Path) -> StorageError {
    StorageError::unavailable(format!("the disk of {} is full: make room", path.display()))
}

/// The store's error for an error of SQLite, which says what can be done.
fn explained(error: Arc<rusqlite::Error>, path: &Path) -> StorageError {
    let file = path.display();
    let explained = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StorageError::unavailable(format!("{file} is locked by another process"))
        }
        Some(ErrorCode::DiskFull) => full(path),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => {
            StorageError::unavailable(file.to_string())
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StorageError::misconfigured(format!(
                "{file} is damaged or no database: put back a copy of it, or move it \
                 and {file}-wal away and start with an empty catalog"
            ))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StorageError::misconfigured(format!(
                "{file} can't be opened for writing: check that its folder exists and \
                 belongs to you, or choose another file for the catalog"
            ))
        }
        _ => StorageError::internal(file.to_string()),
    };
    explained.caused_by(error)
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    /// A database that can grow by so many pages.
    async fn with_room_for(pages: u32, folder: &tempfile::TempDir) -> Database {
        let database = Database::open(&folder.path().join("catalog.db")).expect("it is made");
        limit(&database, Some(pages)).await;
        database
    }

    /// Limits the file as a nearly full disk would: it can grow by so many pages. `None` lifts
    /// the limit.
    async fn limit(database: &Database, pages: Option<u32>) {
        let limiting = database.write(move |connection| {
            let used: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let limit = pages.map_or(u32::MAX - 1, |pages| used + pages);
            connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(()))?;
            Ok(())
        });
        limiting.await.expect("a pragma");
    }

    async fn put(database: &Database, id: u32, bytes: usize) -> Result<(), StorageError> {
        let record = "x".repeat(bytes);
        let putting = database.write(move |connection| {
            connection.execute(
                "INSERT INTO models (id, created, record) VALUES (?1, 0, ?2)",
                (id.to_string(), &record),
            )?;
            Ok(())
        });
        putting.await
    }

    async fn count(database: &Database) -> usize {
        let counting = database.read(|connection| {
            let sql = "SELECT count(*) FROM models";
            Ok(connection.query_row(sql, [], |row| row.get(0))?)
        });
        counting.await.expect("it can be read")
    }

    #[tokio::test]
    async fn a_disk_that_fills_in_the_middle_of_a_statement_is_an_outage() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = with_room_for(4, &folder).await;
        let error = put(&database, 1, 1 << 20).await.expect_err("it is full");
        assert!(error.is_transient(), "{error:?}");
        assert!(error.to_string().contains("full: make room"), "{error}");
        assert_eq!(count(&database).await, 0);

        limit(&database, None).await;
        put(&database, 1, 1 << 20).await.expect("there is room now");
        assert_eq!(count(&database).await, 1);
    }

    #[tokio::test]
    async fn writes_that_a_full_disk_undid_fail_and_all_others_are_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = with_room_for(64, &folder).await;
        let writes = (0..100).map(|id| put(&database, id, if id == 50 { 1 << 20 } else { 10 }));
        let outcomes = join_all(writes).await;
        assert!(outcomes[50].is_err(), "it has no room");
        let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        for error in refused {
            assert!(error.is_transient(), "{error:?}");
        }
        let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(count(&database).await, written);
    }
}
