//! The file, and the one thread of this process that works on it.
//!
//! A commit costs a flush to the disk. The thread takes all work that waits into
//! one transaction, commits once and only then answers: durable for everybody at
//! the price of one. Other processes do the same with the same file; they wait
//! for each other a fraction of a millisecond at a time.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::broker::BrokerError;

/// The version of schema.sql, kept in the file's `user_version`.
const VERSION: i32 = 1;
const SCHEMA: &str = include_str!("schema.sql");

/// Marks the file as a queue of maskline ("mskq" in ASCII).
const APPLICATION: i32 = 0x6d73_6b71;

/// How long this process waits for the others, and between two looks.
const BUSY: Duration = Duration::from_secs(15);
const BUSY_STEP: Duration = Duration::from_micros(200);

/// The most work of one commit.
const TOGETHER: usize = 512;

/// Called after the commit, with how it ended.
type Answer = Box<dyn FnOnce(Result<(), BrokerError>) + Send>;
type Work = Box<dyn FnOnce(&Connection) -> rusqlite::Result<Answer> + Send>;

/// Work on its way to the file.
#[derive(Clone)]
pub struct File {
    path: PathBuf,
    // Nothing unbounded waits in it: who sends waits for the answer, but for
    // what gives deliveries back, and deliveries are bounded by the prefetch.
    work: mpsc::Sender<Option<Work>>,
}

impl File {
    /// Opens the file, or makes it. Blocks.
    pub fn open(path: &Path) -> Result<Self, BrokerError> {
        let mut connection = prepare(path)?;
        let (work, waiting) = mpsc::channel();
        thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || write_until_closed(&mut connection, &waiting))
            .map_err(|error| BrokerError::Unavailable(format!("no thread: {error}")))?;
        Ok(Self {
            path: path.to_owned(),
            work,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does `work` in a transaction; durable when this returns. An error of
    /// SQLite undoes everything in the transaction, one that `work` returns itself
    /// nothing.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, BrokerError>> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let result = work(connection)?;
            Ok(Box::new(move |committed: Result<(), BrokerError>| {
                // Nobody listens any more where the caller was cancelled.
                let _ = tell.send(committed.and(result));
            }))
        });
        self.work.send(Some(work)).map_err(|_| closed())?;
        told.await.map_err(|_| {
            BrokerError::Unavailable(format!("{} could not be written", self.path.display()))
        })?
    }

    /// Does `work` some time soon; for what nobody waits for.
    pub fn write_soon(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) {
        let work: Work = Box::new(move |connection| {
            work(connection)?;
            Ok(Box::new(|committed| {
                if let Err(error) = committed {
                    tracing::warn!(%error, "a message comes back later than it could");
                }
            }))
        });
        // Closed: what the process had in hand was given back as a whole.
        let _ = self.work.send(Some(work));
    }

    /// Ends the thread after the work that waits. What comes later fails.
    pub fn close(&self) {
        let _ = self.work.send(None);
    }
}

fn closed() -> BrokerError {
    BrokerError::Unavailable("the queue is closed".to_owned())
}

fn prepare(path: &Path) -> Result<Connection, BrokerError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| {
            BrokerError::Misconfigured(format!(
                "the folder {} can't be made: {error}. Give another with --data",
                folder.display()
            ))
        })?;
    }
    let explain = |error| explain(&error, path);
    let mut connection = Connection::open(path).map_err(explain)?;
    connection
        .busy_handler(Some(|looks| {
            thread::sleep(BUSY_STEP);
            BUSY_STEP * u32::try_from(looks).unwrap_or(0) < BUSY
        }))
        .map_err(explain)?;
    // WAL: a commit is one flush, and readers don't wait. FULL: it is one flush at least.
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        .map_err(explain)?;
    connection.set_prepared_statement_cache_capacity(64);
    check_version(&mut connection, path)?;
    Ok(connection)
}

/// Makes the tables in a new file and refuses one that is not ours.
fn check_version(connection: &mut Connection, path: &Path) -> Result<(), BrokerError> {
    let explain = |error| explain(&error, path);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(explain)?;
    let number = |pragma| transaction.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, version) = (
        number("application_id").map_err(explain)?,
        number("user_version").map_err(explain)?,
    );
    let tables: i64 = transaction
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(explain)?;
    match (application, version) {
        (APPLICATION, VERSION) => Ok(()),
        (APPLICATION, other) => Err(BrokerError::Misconfigured(format!(
            "{} was written by another version of maskline (queue format {other}, this one \
             reads {VERSION}): run that version, or give another folder with --data",
            path.display()
        ))),
        (0, 0) if tables == 0 => {
            transaction.execute_batch(SCHEMA).map_err(explain)?;
            transaction
                .pragma_update(None, "application_id", APPLICATION)
                .map_err(explain)?;
            transaction
                .pragma_update(None, "user_version", VERSION)
                .map_err(explain)?;
            transaction.commit().map_err(explain)
        }
        _ => Err(BrokerError::Misconfigured(format!(
            "{} is a database of another program: name another file",
            path.display()
        ))),
    }
}

/// An error of SQLite by what can be done about it.
fn explain(error: &rusqlite::Error, path: &Path) -> BrokerError {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => BrokerError::Misconfigured(format!(
            "{path} is no queue of maskline: move it away or name another file"
        )),
        Some(ErrorCode::DatabaseCorrupt) => BrokerError::Misconfigured(format!(
            "{path} is damaged ({error}): move it away and enqueue again"
        )),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            BrokerError::Misconfigured(format!(
                "{path} can't be opened ({error}): check the folder's permissions"
            ))
        }
        Some(ErrorCode::DiskFull) => {
            BrokerError::Unavailable(format!("the disk of {path} is full: make room"))
        }
        _ => BrokerError::Unavailable(format!("{path}: {error}")),
    }
}

fn write_until_closed(connection: &mut Connection, waiting: &mpsc::Receiver<Option<Work>>) {
    let path = PathBuf::from(connection.path().unwrap_or_default());
    while let Ok(Some(first)) = waiting.recv() {
        let (mut together, mut closing) = (vec![first], false);
        while together.len() < TOGETHER {
            match waiting.try_recv() {
                Ok(Some(work)) => together.push(work),
                Ok(None) => {
                    closing = true;
                    break;
                }
                Err(_) => break,
            }
        }
        commit(connection, together, &path);
        if closing {
            break;
        }
    }
}

/// One transaction. Should SQLite fail in it, it is undone as a whole and all are told.
fn commit(connection: &mut Connection, together: Vec<Work>, path: &Path) {
    let mut answers: Vec<Answer> = Vec::with_capacity(together.len());
    let work = || -> rusqlite::Result<()> {
        let transaction: Transaction<'_> =
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for work in together {
            answers.push(work(&transaction)?);
        }
        transaction.commit()
    };
    let result = work();
    if let Err(error) = &result {
        tracing::warn!(%error, path = %path.display(), "the queue could not be written");
    }
    for answer in answers {
        answer(
            result
                .as_ref()
                .map(|_| ())
                .map_err(|error| explain(error, path)),
        );
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    /// Fills up like a disk: `pages` is what it has room for beyond what it holds.
    async fn limit(file: &File, pages: u32) {
        let limiting = file.write(move |connection| {
            let used: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let most = used.saturating_add(pages);
            connection.pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))?;
            Ok(Ok(()))
        });
        limiting.await.expect("a pragma");
    }

    async fn put(file: &File, bytes: usize) -> Result<(), BrokerError> {
        let body = vec![7; bytes];
        let putting = file.write(move |connection| {
            connection.execute(
                "INSERT INTO messages (queue, key, headers, body) VALUES ('q', 'k', '{}', ?1)",
                [body],
            )?;
            Ok(Ok(()))
        });
        putting.await
    }

    async fn count(file: &File) -> usize {
        let counting = file.write(|connection| {
            let sql = "SELECT count(*) FROM messages";
            connection.query_row(sql, [], |row| row.get(0)).map(Ok)
        });
        counting.await.expect("it can be read")
    }

    #[tokio::test]
    async fn a_disk_that_fills_in_the_middle_of_a_statement_is_an_outage() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = File::open(&folder.path().join("queue.db")).expect("it is made");
        limit(&file, 64).await;
        let writes = (0..100).map(|n| put(&file, if n == 50 { 1 << 20 } else { 10 }));
        let outcomes = join_all(writes).await;
        assert!(outcomes[50].is_err(), "it has no room");
        for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(error, BrokerError::Unavailable(_)), "{error:?}");
        }
        let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(count(&file).await, written, "all that is told is true");

        limit(&file, u32::MAX).await;
        put(&file, 1 << 20).await.expect("there is room now");
        assert_eq!(count(&file).await, written + 1);
        file.close();
    }
}
