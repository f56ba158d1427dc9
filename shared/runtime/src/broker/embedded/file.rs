//! The queue's file. Its errors become the broker's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use maskline_foundation::sqlite::{self, Format, Migration, OpenError, WriteError, Writer};
use rusqlite::{Connection, ErrorCode};

use crate::broker::error::BrokerError;

/// Identifies a queue of maskline among other databases. The application id is "mskq" in
/// ASCII.
const FORMAT: Format = Format {
    application_id: 0x6d73_6b71,
    version: VERSION,
    schema: include_str!("schema.sql"),
    migrations: &[Migration {
        from: 1,
        statements: "ALTER TABLE messages ADD COLUMN delayed INTEGER",
    }],
};

/// The version of schema.sql, kept in the file's `user_version`.
const VERSION: i32 = 2;

/// The file, and the one thread of this process that works on it.
pub struct File {
    path: PathBuf,
    writer: Writer,
}

impl File {
    /// Opens the file, or makes it. This blocks the thread. The drop waits for the last commit.
    pub fn open(path: &Path) -> Result<Self, BrokerError> {
        let writer = sqlite::open(path, &FORMAT).and_then(|connection| {
            Writer::start(connection, "queue-writer").map_err(OpenError::Thread)
        });
        Ok(Self {
            path: path.to_owned(),
            writer: writer.map_err(|error| unusable(error, path))?,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does `work` in a transaction that it shares with others. What it did is durable when
    /// this returns. `work` that fails leaves nothing behind.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let written = self.writer.write(work).await;
        written.map_err(|error| match error {
            WriteError::Job(error) => explain(Arc::new(error), &self.path).while_in_use(),
            WriteError::Transaction(error) => explain(error, &self.path).while_in_use(),
            WriteError::Closed => BrokerError::unavailable("the queue is closed"),
        })
    }

    /// Does `work` some time soon, for callers that can't wait. On a closed queue it does
    /// nothing: what the process had in hand was given back when it was closed.
    pub fn write_soon(
        &self,
        work: impl FnMut(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) {
        self.writer
            .submit(work, |written: Result<(), WriteError<_>>| {
                if let Err(error) = written {
                    tracing::warn!(%error, "a message comes back later than it could");
                }
            });
    }

    /// Ends the thread after the work that waits. What comes later fails.
    pub fn close(&self) {
        self.writer.close();
    }
}

/// Why the file can't be opened, and what can be done.
fn unusable(error: OpenError, path: &Path) -> BrokerError {
    let file = path.display();
    match error {
        OpenError::Sqlite(error) => explain(Arc::new(error), path),
        OpenError::Thread(error) => {
            BrokerError::unavailable("no thread for the queue").caused_by(error)
        }
        OpenError::Folder { folder, source } => BrokerError::misconfigured(format!(
            "the folder {} can't be made: give another with --data",
            folder.display()
        ))
        .caused_by(source),
        OpenError::File { source, .. } => BrokerError::misconfigured(format!(
            "{file} can't be made: check the folder's permissions, or give another with --data"
        ))
        .caused_by(source),
        OpenError::NoWriteAheadLog { .. } => BrokerError::misconfigured(format!(
            "{file} can't be a queue: put it on a local disk, or give another folder with --data"
        ))
        .caused_by(error),
        OpenError::Migration { from, source } => {
            BrokerError::misconfigured(format!("{file} of version {from} can't be migrated"))
                .caused_by(source)
        }
        OpenError::OtherVersion { found } => BrokerError::misconfigured(format!(
            "{file} was written by another version of maskline (queue format {found}, this one \
             reads {VERSION}): run that version, or give another folder with --data"
        )),
        OpenError::Foreign => BrokerError::misconfigured(format!(
            "{file} is a database of another program: name another file"
        )),
    }
}

fn full(path: &Path) -> BrokerError {
    BrokerError::unavailable(format!("the disk of {} is full: make room", path.display()))
}

/// An error of SQLite by what can be done about it.
fn explain(error: Arc<rusqlite::Error>, path: &Path) -> BrokerError {
    let file = path.display();
    let explained = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => BrokerError::misconfigured(format!(
            "{file} is no queue of maskline: move it away or name another file"
        )),
        Some(ErrorCode::DatabaseCorrupt) => {
            BrokerError::misconfigured(format!("{file} is damaged: move it away and enqueue again"))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            BrokerError::misconfigured(format!(
                "{file} can't be opened: check the folder's permissions"
            ))
        }
        Some(ErrorCode::DiskFull) => full(path),
        _ => BrokerError::unavailable(file.to_string()),
    };
    explained.caused_by(error)
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    /// Limits the file as a nearly full disk would: it can grow by `pages` pages.
    async fn limit(file: &File, pages: u32) {
        let limiting = file.write(move |connection| {
            let used: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let limit = used.saturating_add(pages);
            connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(()))
        });
        limiting.await.expect("a pragma");
    }

    async fn put(file: &File, bytes: usize) -> Result<(), BrokerError> {
        let body = vec![7; bytes];
        let putting = file.write(move |connection| {
            connection.execute(
                "INSERT INTO messages (queue, key, headers, body) VALUES ('q', 'k', '{}', ?1)",
                [&body],
            )?;
            Ok(())
        });
        putting.await
    }

    async fn count(file: &File) -> usize {
        let counting = file.write(|connection| {
            let sql = "SELECT count(*) FROM messages";
            connection.query_row(sql, [], |row| row.get(0))
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
            assert!(
                matches!(error, BrokerError::Unavailable { .. }),
                "{error:?}"
            );
        }
        let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(
            count(&file).await,
            written,
            "what was reported as written is there"
        );

        limit(&file, u32::MAX).await;
        put(&file, 1 << 20).await.expect("there is room now");
        assert_eq!(count(&file).await, written + 1);
        file.close();
    }
}
