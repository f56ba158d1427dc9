//! The file and its connections: one writer thread, a few readers.
//!
//! A commit costs a flush to the disk. The writer takes all that waits into one
//! transaction, each piece of work in a savepoint of its own, commits once and
//! only then answers: durable for everybody at the price of one. Other processes
//! write to the same file; they wait for each other a few milliseconds at a time.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::StorageError;

/// The version of schema.sql, kept in the file's `user_version`.
pub(super) const VERSION: i32 = 4;
const SCHEMA: &str = include_str!("schema.sql");

/// Marks the file as a catalog of maskline ("mask" in ASCII).
const APPLICATION: i32 = 0x6d61_736b;

/// How long a writer waits for writers in other processes.
const BUSY: Duration = Duration::from_secs(15);
/// Between two looks whether the other writer is done. SQLite's own steps grow
/// to 100 ms, in which a busy neighbour commits many times.
const BUSY_STEP: Duration = Duration::from_millis(2);

/// Work that may wait for the writer, and so the most that one commit holds.
const WAITING: usize = 256;

/// Connections that read at the same time.
const READERS: usize = 4;

/// What work on a connection ends in when it fails.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Told whether the commit succeeded.
type Answer = Box<dyn FnOnce(Result<(), StorageError>) + Send>;
/// Does its work on a connection in a transaction, or hears why there is none. An
/// error was told to whoever waits for the work.
type Work =
    Box<dyn FnOnce(Result<&Connection, StorageError>) -> Result<Answer, StorageError> + Send>;

pub(super) struct Database {
    path: PathBuf,
    /// Both are there until the drop.
    writer: Option<(mpsc::Sender<Work>, JoinHandle<()>)>,
    readers: Mutex<Vec<Connection>>,
    reading: Semaphore,
}

impl Database {
    /// Opens the file, or makes it. Blocks.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let connection = prepare(path).map_err(|failure| explain(failure, path))?;
        let (writer, waiting) = mpsc::channel(WAITING);
        let owned = path.to_owned();
        let thread = thread::Builder::new()
            .name("catalog-writer".to_owned())
            .spawn(move || write_until_closed(connection, waiting, &owned))
            .map_err(|e| StorageError::unavailable(format!("no thread for the catalog: {e}")))?;
        Ok(Self {
            path: path.to_owned(),
            writer: Some((writer, thread)),
            readers: Mutex::new(vec![]),
            reading: Semaphore::new(READERS),
        })
    }

    /// Does `work` in a transaction; it is durable when this returns. `work` that
    /// fails leaves nothing behind.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (tell, told) = oneshot::channel();
        let path = self.path.clone();
        let work: Work = Box::new(move |connection| {
            let result = connection.and_then(|connection| {
                in_savepoint(connection, work).map_err(|failure| explain(failure, &path))
            });
            match result {
                Ok(value) => Ok(Box::new(move |committed: Result<(), StorageError>| {
                    // Nobody listens any more where the caller was cancelled.
                    let _ = tell.send(committed.map(|()| value));
                })),
                Err(error) => {
                    let _ = tell.send(Err(error.clone()));
                    Err(error)
                }
            }
        });
        let closed = || StorageError::internal("the catalog's writer has ended".to_owned());
        let (writer, _) = self.writer.as_ref().expect("there until the drop");
        writer.send(work).await.map_err(|_| closed())?;
        told.await.map_err(|_| closed())?
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
            StorageError::internal(format!("reading the catalog did not come to an end: {e}"))
        })??;
        self.readers.lock().push(reader);
        Ok(value)
    }
}

impl Drop for Database {
    /// The file is closed when this returns: what was begun is committed.
    fn drop(&mut self) {
        if let Some((writer, thread)) = self.writer.take() {
            drop(writer);
            // It has nothing to say: whoever waited for it has its answer.
            let _ = thread.join();
        }
    }
}

/// The writer's loop; ends when the [`Database`] is dropped and all work is done.
fn write_until_closed(mut connection: Connection, mut waiting: mpsc::Receiver<Work>, path: &Path) {
    while let Some(first) = waiting.blocking_recv() {
        let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate)
        {
            Ok(transaction) => transaction,
            Err(error) => {
                // Whoever waits for it hears it.
                let _ = first(Err(explain(error.into(), path)));
                continue;
            }
        };
        let mut answers = vec![];
        let mut undone = None;
        let mut next = Some(first);
        while let Some(work) = next.take() {
            match work(Ok(&transaction)) {
                Ok(answer) => answers.push(answer),
                Err(error) if transaction.is_autocommit() => {
                    undone = Some(error);
                    break;
                }
                Err(_) => {}
            }
            if answers.len() < WAITING {
                next = waiting.try_recv().ok();
            }
        }
        let committed = match undone {
            // What was done for the others went with it.
            Some(error) => Err(error),
            None => transaction
                .commit()
                .map_err(|error| explain(error.into(), path)),
        };
        for answer in answers {
            answer(committed.clone());
        }
    }
}

/// On some errors, such as a full disk, SQLite itself undoes the whole
/// transaction: then the connection is in none when this returns.
fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.prepare_cached("SAVEPOINT work")?.execute([])?;
    let result = work(connection);
    if result.is_err() {
        if connection.is_autocommit() {
            return result;
        }
        connection.prepare_cached("ROLLBACK TO work")?.execute([])?;
    }
    connection.prepare_cached("RELEASE work")?.execute([])?;
    result
}

/// Opens the file for writing, with its tables in it.
fn prepare(path: &Path) -> Result<Connection, Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| {
            let folder = folder.display();
            StorageError::misconfigured(format!(
                "{folder} can't be made: {e}. Choose another folder for the catalog"
            ))
        })?;
    }
    let mut connection = Connection::open(path)?;
    configure(&mut connection)?;
    use_write_ahead_log(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Grows while a reader is slow, and shrinks again.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // Immediate: of several processes that start at once one makes the tables.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if table_count(&transaction)? == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    } else {
        check_version(&transaction, path)?;
    }
    transaction.commit()?;
    Ok(connection)
}

fn open_reader(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut reader = Connection::open_with_flags(path, flags)?;
    configure(&mut reader)?;
    reader.pragma_update(None, "query_only", true)?;
    Ok(reader)
}

fn configure(connection: &mut Connection) -> Result<(), Failure> {
    connection.busy_handler(Some(|tries| {
        thread::sleep(BUSY_STEP);
        let most = (BUSY.as_millis() / BUSY_STEP.as_millis()) as i32;
        tries < most
    }))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// The busy handler is not asked when the journal changes, which happens once in
/// the life of a file: whoever comes second asks again.
fn use_write_ahead_log(connection: &Connection) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        let switched = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match switched {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(StorageError::misconfigured(format!(
                    "the file system has no write-ahead log for SQLite (it uses {mode:?}): \
                     put the catalog on a local disk"
                ))
                .into());
            }
            Err(error) if is_busy(&error) && started.elapsed() < BUSY => thread::sleep(BUSY_STEP),
            Err(error) => return Err(error.into()),
        }
    }
}

fn table_count(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

fn check_version(connection: &Connection, path: &Path) -> Result<(), Failure> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let path = path.display();
    if pragma("application_id")? != APPLICATION {
        return Err(StorageError::misconfigured(format!(
            "{path} is a database, but not of maskline: choose another file for the catalog"
        ))
        .into());
    }
    let found = pragma("user_version")?;
    if found != VERSION {
        return Err(StorageError::misconfigured(format!(
            "the data folder was written by another version of maskline \
             ({path}: found {found}, this build reads {VERSION}): use that version, \
             or move the folder away and start with an empty one"
        ))
        .into());
    }
    Ok(())
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// What it means for the caller, and what can be done.
fn explain(failure: Failure, path: &Path) -> StorageError {
    let error = match failure {
        Failure::Storage(error) => return error,
        Failure::Sqlite(error) => error,
    };
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StorageError::unavailable(format!("{path} is held by another process: {error}"))
        }
        Some(ErrorCode::DiskFull) => {
            StorageError::unavailable(format!("the disk of {path} is full: make room"))
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => {
            StorageError::unavailable(format!("{path}: {error}"))
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StorageError::misconfigured(format!(
                "{path} is damaged or no database ({error}): put back a copy of it, or move it \
                 and {path}-wal away and start with an empty catalog"
            ))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StorageError::misconfigured(format!(
                "{path} can't be opened for writing ({error}): check that its folder exists and \
                 belongs to you, or choose another file for the catalog"
            ))
        }
        _ => StorageError::internal(format!("{path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    /// A database that has room for so many pages more.
    async fn with_room_for(pages: u32, folder: &tempfile::TempDir) -> Database {
        let database = Database::open(&folder.path().join("catalog.db")).expect("it is made");
        limit(&database, Some(pages)).await;
        database
    }

    /// As a disk does that is nearly full; `None`: one that was made room on.
    async fn limit(database: &Database, pages: Option<u32>) {
        let limiting = database.write(move |connection| {
            let used: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let most = pages.map_or(u32::MAX - 1, |pages| used + pages);
            connection.pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))?;
            Ok(())
        });
        limiting.await.expect("a pragma");
    }

    async fn put(database: &Database, id: u32, bytes: usize) -> Result<(), StorageError> {
        let record = "x".repeat(bytes);
        let putting = database.write(move |connection| {
            connection.execute(
                "INSERT INTO models (id, created, record) VALUES (?1, 0, ?2)",
                (id.to_string(), record),
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
    async fn what_was_written_together_with_what_found_no_room_is_told_the_truth() {
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
