//! A SQLite file that several processes write to.
//!
//! [`open`] makes or checks the file. A [`Writer`] is the one thread of the process that
//! writes to it, and many pieces of work share each of its commits.

mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use thiserror::Error;

pub use writer::{WriteError, Writer};

use crate::private_folder;

/// How long a process waits for writers in other processes.
const BUSY_LIMIT: Duration = Duration::from_secs(15);

/// The wait between two attempts to write while another process writes. SQLite's own waits
/// grow to 100 ms, in which a busy process commits many times.
const BUSY_STEP: Duration = Duration::from_micros(200);

/// The number of statements that a connection keeps prepared.
const PREPARED: usize = 64;

/// The bytes that the write-ahead log is cut back to after it grew while a reader was slow.
const LOG_BYTES: i64 = 64 << 20;

/// Identifies the databases of one kind, and says how a new one is made.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// SQLite's `application_id`: four letters in ASCII, different for each kind.
    pub application_id: i32,
    /// The version of `schema`, kept in SQLite's `user_version`.
    pub version: i32,
    /// The statements that make the tables in a new file.
    pub schema: &'static str,
    /// The steps from older versions to this one, the oldest first.
    pub migrations: &'static [Migration],
}

/// A step from one version of a format to the next.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The version before the step. After it, it is one more.
    pub from: i32,
    /// The statements that change the tables and what is in them.
    pub statements: &'static str,
}

/// Why a file can't be used.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("the folder {} can't be made: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("the file {} can't be made: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("there is no thread for the writer: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The file system can't share memory between processes. Network file systems can't.
    #[error("the file system has no write-ahead log for SQLite, which uses {mode:?}")]
    NoWriteAheadLog { mode: String },
    /// The file is a database, but not one of this format.
    #[error("the file is a database of another program")]
    Foreign,
    /// A step from an older version failed. The file is as it was.
    #[error("the step from version {from} failed: {source}")]
    Migration { from: i32, source: rusqlite::Error },
    /// The file is of this format, but of another version, and there are no steps from it.
    #[error("the file's format has the version {found}")]
    OtherVersion { found: i32 },
}

/// Opens the file for writing, or makes it with its folder and its tables. Commits are
/// durable. This blocks the thread.
pub fn open(path: &Path, format: &Format) -> Result<Connection, OpenError> {
    if let Some(folder) = path.parent() {
        private_folder::create(folder).map_err(|source| OpenError::Folder {
            folder: folder.to_owned(),
            source,
        })?;
    }
    private_folder::create_file(path).map_err(|source| OpenError::File {
        file: path.to_owned(),
        source,
    })?;
    let mut connection = Connection::open(path)?;
    configure(&mut connection)?;
    use_write_ahead_log(&connection)?;
    // With FULL each commit is flushed to the disk. With a write-ahead log that is one flush.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    // It is immediate, so that of several processes that start at once one makes the tables, or
    // brings them to this version. If it dies, the file is as it was.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    make_or_check_tables(&transaction, format)?;
    transaction.commit()?;
    Ok(connection)
}

/// Makes the settings that every connection to such a file needs, a reader's too: it waits for
/// the writers of other processes, and keeps statements prepared.
pub fn configure(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(PREPARED);
    connection.busy_handler(Some(|attempts| {
        thread::sleep(BUSY_STEP);
        BUSY_STEP * u32::try_from(attempts).unwrap_or(0) < BUSY_LIMIT
    }))
}

/// SQLite does not call the busy handler when the journal changes, which happens once in the
/// life of a file. So a process that comes second tries again here.
fn use_write_ahead_log(connection: &Connection) -> Result<(), OpenError> {
    let started = Instant::now();
    loop {
        let switched = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match switched {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(OpenError::NoWriteAheadLog { mode }),
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_LIMIT => {
                thread::sleep(BUSY_STEP);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn make_or_check_tables(connection: &Connection, format: &Format) -> Result<(), OpenError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application_id, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application_id, version) {
        (0, 0) if tables == 0 => {
            connection.execute_batch(format.schema)?;
            connection.pragma_update(None, "application_id", format.application_id)?;
            connection.pragma_update(None, "user_version", format.version)?;
            Ok(())
        }
        (id, _) if id != format.application_id => Err(OpenError::Foreign),
        (_, found) if found != format.version => migrate(connection, format, found),
        _ => Ok(()),
    }
}

/// Takes the steps from the version that was found to the format's. If one is missing, nothing is
/// changed.
fn migrate(connection: &Connection, format: &Format, found: i32) -> Result<(), OpenError> {
    let mut version = found;
    let first = format.migrations.iter().position(|step| step.from == found);
    let steps = first.map_or(&[][..], |first| &format.migrations[first..]);
    for step in steps {
        let taken = connection
            .execute_batch(step.statements)
            .and_then(|()| connection.pragma_update(None, "user_version", step.from + 1));
        taken.map_err(|source| OpenError::Migration {
            from: step.from,
            source,
        })?;
        version = step.from + 1;
    }
    match version == format.version {
        true => Ok(()),
        false => Err(OpenError::OtherVersion { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format {
        application_id: 0x7465_7374,
        version: 2,
        schema: "CREATE TABLE things (id INTEGER PRIMARY KEY)",
        migrations: &[],
    };

    #[test]
    fn a_file_is_made_once_and_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/things.db");
        let made = open(&path, &FORMAT).unwrap();
        made.execute("INSERT INTO things VALUES (7)", []).unwrap();
        let again = open(&path, &FORMAT).unwrap();
        let id: i64 = again
            .query_row("SELECT id FROM things", [], |row| row.get(0))
            .unwrap();
        assert_eq!(id, 7);
    }

    #[test]
    fn a_file_of_another_program_or_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("foreign.db");
        let foreign = Connection::open(&path).unwrap();
        foreign.execute("CREATE TABLE theirs (x)", []).unwrap();
        assert!(matches!(open(&path, &FORMAT), Err(OpenError::Foreign)));
        let tables = "SELECT group_concat(name) FROM sqlite_schema";
        let tables: String = foreign.query_row(tables, [], |row| row.get(0)).unwrap();
        assert_eq!(tables, "theirs");

        let path = folder.path().join("old.db");
        let old = Format {
            version: 1,
            ..FORMAT
        };
        drop(open(&path, &old).unwrap());
        let refused = open(&path, &FORMAT);
        assert!(matches!(refused, Err(OpenError::OtherVersion { found: 1 })));
    }

    #[test]
    fn an_older_file_goes_through_all_steps_or_stays_as_it_is() {
        const FOURTH: Format = Format {
            version: 4,
            schema: "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT, size INTEGER)",
            migrations: &[
                Migration {
                    from: 2,
                    statements: "ALTER TABLE things ADD COLUMN name TEXT",
                },
                Migration {
                    from: 3,
                    statements: "ALTER TABLE things ADD COLUMN size INTEGER;
                                 UPDATE things SET size = 1",
                },
            ],
            ..FORMAT
        };
        const BROKEN: Format = Format {
            migrations: &[
                FOURTH.migrations[0],
                Migration {
                    from: 3,
                    statements: "UPDATE nothing SET size = 1",
                },
            ],
            ..FOURTH
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let old = open(&path, &FORMAT).unwrap();
        old.execute("INSERT INTO things VALUES (7)", []).unwrap();
        drop(old);
        let refused = open(&path, &BROKEN);
        assert!(matches!(refused, Err(OpenError::Migration { from: 3, .. })));
        drop(open(&path, &FORMAT).expect("it is as it was"));
        for _ in 0..2 {
            let migrated = open(&path, &FOURTH).unwrap();
            let size = migrated.query_row("SELECT id + size FROM things", [], |row| row.get(0));
            assert_eq!(size, Ok(8));
        }
        let refused = open(&path, &FORMAT);
        assert!(matches!(refused, Err(OpenError::OtherVersion { found: 4 })));

        let path = folder.path().join("older.db");
        let older = Format {
            version: 1,
            ..FORMAT
        };
        drop(open(&path, &older).unwrap());
        let refused = open(&path, &FOURTH);
        assert!(matches!(refused, Err(OpenError::OtherVersion { found: 1 })));
    }

    #[test]
    fn a_file_that_is_no_database_is_an_error_of_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.db");
        std::fs::write(&path, "This is a text and no database at all.".repeat(100)).unwrap();
        match open(&path, &FORMAT) {
            Err(OpenError::Sqlite(error)) => {
                assert_eq!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase));
            }
            other => panic!("{other:?}"),
        }
    }
}
