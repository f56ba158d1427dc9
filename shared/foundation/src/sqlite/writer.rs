//! The thread that writes, and the commits that many jobs share.
//!
//! A commit costs a flush to the disk. The thread takes all jobs that wait into one
//! transaction, commits once and only then answers: each job is durable, and together they
//! pay for one flush. A job that fails undoes the transaction, and the others of its batch
//! are done again without it. (A savepoint for each job would do the same, at the cost of
//! a third of the speed of jobs that do not fail.) Other processes do the same with the same
//! file, and wait for each other a few milliseconds at a time.

use std::{
    io, iter,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};

/// The most jobs in one commit, and the most calls of [`Writer::write`] whose jobs are queued.
/// Further calls wait for a permit. One that is cancelled meanwhile leaves no job behind.
const MAX_JOBS: usize = 512;

/// Why a job has left nothing behind.
#[derive(Debug, Error)]
pub enum WriteError<E> {
    /// The job itself failed.
    #[error(transparent)]
    Job(E),
    /// The transaction could not begin or could not be committed.
    #[error("the transaction failed: {0}")]
    Transaction(Arc<rusqlite::Error>),
    /// The writer was closed.
    #[error("the writer is closed")]
    Closed,
}

/// What the writer's thread does with a job, whatever the job returns.
trait Job {
    /// Does the job. Returns whether it succeeded.
    fn run(&mut self, transaction: &Connection) -> bool;

    /// Tells the caller what became of the job and of the transaction in which it ran last.
    fn answer(self: Box<Self>, committed: Result<(), Arc<rusqlite::Error>>);
}

/// A job of a caller, with the result of its last run.
struct Submitted<T, E, Work, Done> {
    work: Work,
    done: Done,
    result: Option<Result<T, E>>,
}

impl<T, E, Work, Done> Job for Submitted<T, E, Work, Done>
where
    Work: FnMut(&Connection) -> Result<T, E>,
    Done: FnOnce(Result<T, WriteError<E>>),
{
    fn run(&mut self, transaction: &Connection) -> bool {
        let result = (self.work)(transaction);
        self.result.insert(result).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), Arc<rusqlite::Error>>) {
        (self.done)(match (self.result, committed) {
            (Some(Err(error)), _) => Err(WriteError::Job(error)),
            (_, Err(error)) => Err(WriteError::Transaction(error)),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => unreachable!("a transaction is committed after its jobs have run"),
        });
    }
}

type DynJob = Box<dyn Job + Send>;

/// The one thread of a process that writes to a file.
pub struct Writer {
    /// `None` once it is closed.
    jobs: Mutex<Option<mpsc::Sender<DynJob>>>,
    permits: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts a thread of that name, which owns the connection.
    pub fn start(connection: Connection, thread_name: &str) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(thread_name.to_owned())
            .spawn(move || write_until_closed(connection, &waiting))?;
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
            permits: Arc::new(Semaphore::new(MAX_JOBS)),
            thread: Some(thread),
        })
    }

    /// Does `job` in a transaction. What it did is durable when this returns `Ok`, and
    /// undone when this returns an error. It may be called several times, but only what its
    /// last call did remains. A caller that is cancelled does not learn what happened.
    pub async fn write<T, E>(
        &self,
        mut job: impl FnMut(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let permit = self.permits.clone().acquire_owned().await;
        let mut permit = Some(permit.expect("never closed"));
        let (sender, receiver) = oneshot::channel();
        let job = move |connection: &_| {
            drop(permit.take());
            job(connection)
        };
        self.submit(job, move |result| {
            // A caller that was cancelled does not listen any more.
            let _ = sender.send(result);
        });
        receiver.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Does `job` some time soon, as [`write`](Self::write) does, and then calls `done` on the
    /// writer's thread. This is for callers that can't wait. Neither is called if the writer
    /// was closed before.
    pub fn submit<T, E>(
        &self,
        job: impl FnMut(&Connection) -> Result<T, E> + Send + 'static,
        done: impl FnOnce(Result<T, WriteError<E>>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: Send + 'static,
    {
        if let Some(jobs) = &*self.jobs.lock() {
            let job = Submitted {
                work: job,
                done,
                result: None,
            };
            // This fails only if the thread has panicked. Then the job is dropped.
            let _ = jobs.send(Box::new(job));
        }
    }

    /// Ends the thread after the jobs that wait. Those that come later fail.
    pub fn close(&self) {
        self.jobs.lock().take();
    }
}

impl Drop for Writer {
    /// Closes the writer and waits for its last commit.
    fn drop(&mut self) {
        self.close();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A job may own the last reference to the writer. Then this is the writer's own thread,
        // which can't wait for itself.
        if thread.thread().id() != thread::current().id() {
            // The thread returns nothing, and every job has its answer.
            let _ = thread.join();
        }
    }
}

fn write_until_closed(mut connection: Connection, waiting: &mpsc::Receiver<DynJob>) {
    while let Ok(first) = waiting.recv() {
        let jobs = iter::once(first).chain(waiting.try_iter());
        write(&mut connection, &mut jobs.take(MAX_JOBS));
    }
}

/// Does the jobs and answers them. They share a transaction, unless one fails.
fn write(connection: &mut Connection, jobs: &mut dyn Iterator<Item = DynJob>) {
    while let Some(first) = jobs.next() {
        let mut ran = vec![];
        match commit(connection, first, jobs, &mut ran) {
            Committed::All => return ran.into_iter().for_each(|job| job.answer(Ok(()))),
            Committed::None(error) => {
                let error = Arc::new(error);
                let answers = ran.into_iter();
                return answers.for_each(|job| job.answer(Err(error.clone())));
            }
            Committed::NoneBecauseOfTheLast => {
                let failed = ran.pop().expect("the last one failed");
                failed.answer(Ok(()));
                write(connection, &mut ran.into_iter());
            }
        }
    }
}

/// Which jobs of a transaction are durable.
enum Committed {
    All,
    None(rusqlite::Error),
    /// The last job that ran has failed.
    NoneBecauseOfTheLast,
}

/// Does the jobs in one transaction, as far as the first that fails. Jobs that come meanwhile
/// join it. Those that ran, or could not, are in `ran` then.
fn commit(
    connection: &mut Connection,
    first: DynJob,
    others: &mut dyn Iterator<Item = DynJob>,
    ran: &mut Vec<DynJob>,
) -> Committed {
    let jobs = iter::once(first).chain(others);
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            ran.extend(jobs);
            return Committed::None(error);
        }
    };
    for mut job in jobs {
        let succeeded = job.run(&transaction);
        ran.push(job);
        if !succeeded {
            // Dropping the transaction undoes it.
            return Committed::NoneBecauseOfTheLast;
        }
    }
    match transaction.commit() {
        Ok(()) => Committed::All,
        Err(error) => Committed::None(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::atomic::{AtomicU32, Ordering},
    };

    use futures::future::join_all;

    use super::{
        super::{Format, open},
        *,
    };

    const FORMAT: Format = Format {
        application_id: 0x7465_7374,
        version: 1,
        schema: "CREATE TABLE things (id INTEGER PRIMARY KEY, bytes BLOB)",
        migrations: &[],
    };

    fn writer(path: &Path) -> Writer {
        Writer::start(open(path, &FORMAT).unwrap(), "test-writer").unwrap()
    }

    fn insert(connection: &Connection, id: u32, bytes: usize) -> rusqlite::Result<()> {
        let sql = "INSERT INTO things VALUES (?1, ?2)";
        connection.execute(sql, (id, vec![7; bytes]))?;
        Ok(())
    }

    fn ids(connection: &Connection) -> Vec<u32> {
        let mut select = connection
            .prepare("SELECT id FROM things ORDER BY id")
            .unwrap();
        let ids = select.query_map([], |row| row.get(0)).unwrap();
        ids.collect::<Result<_, _>>().unwrap()
    }

    #[tokio::test]
    async fn a_job_that_fails_spoils_nothing_for_the_others_of_its_batch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("things.db");
        let writer = writer(&path);
        // Keeps the thread busy until the other two wait, so that all three share a commit.
        let (release, released) = mpsc::channel::<()>();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let first = writer.write(move |connection| {
            let _ = released.recv();
            counted.fetch_add(1, Ordering::Relaxed);
            insert(connection, 1, 1)
        });
        let failing = writer.write(|connection| {
            insert(connection, 2, 1)?;
            // The key is taken.
            insert(connection, 1, 1)
        });
        let last = writer.write(|connection| insert(connection, 3, 1));
        let releasing = async { drop(release) };
        let (first, failed, last, ()) = futures::join!(first, failing, last, releasing);
        first.unwrap();
        assert!(matches!(failed, Err(WriteError::Job(_))), "{failed:?}");
        last.unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), 2, "they shared no commit");
        assert_eq!(ids(&Connection::open(&path).unwrap()), [1, 3]);
    }

    /// Limits the file as a nearly full disk would: it can grow by `pages` pages.
    async fn limit(writer: &Writer, pages: u32) {
        let limiting = writer.write(move |connection| {
            let used: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let limit = used.saturating_add(pages);
            connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(()))
        });
        limiting.await.expect("a pragma");
    }

    #[tokio::test]
    async fn jobs_that_a_full_disk_undid_fail_and_all_others_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("things.db");
        let writer = writer(&path);
        limit(&writer, 64).await;
        let bytes = |id| if id == 50 { 1 << 20 } else { 10 };
        let writes =
            (0..100).map(|id| writer.write(move |connection| insert(connection, id, bytes(id))));
        let results = join_all(writes).await;
        assert!(matches!(results[50], Err(WriteError::Job(_))));
        let written = (0..100).filter(|id| results[*id as usize].is_ok());
        let written: Vec<u32> = written.collect();
        assert_eq!(ids(&Connection::open(&path).unwrap()), written);

        limit(&writer, 1 << 20).await;
        let again = writer.write(|connection| insert(connection, 50, 1 << 20));
        again.await.expect("there is room now");
    }

    #[tokio::test]
    async fn jobs_that_wait_at_the_close_are_done_and_later_ones_fail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("things.db");
        let writer = writer(&path);
        writer.submit(
            |connection| insert(connection, 1, 1),
            |result| result.expect("it was in time"),
        );
        writer.close();
        let late = writer.write(|connection| insert(connection, 2, 1)).await;
        assert!(matches!(late, Err(WriteError::Closed)), "{late:?}");
        drop(writer);
        assert_eq!(ids(&Connection::open(&path).unwrap()), [1]);
    }

    #[test]
    fn a_job_may_own_the_last_reference_to_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Arc::new(writer(&folder.path().join("things.db")));
        let (sender, receiver) = mpsc::channel();
        let last = writer.clone();
        let job = move |connection: &_| {
            receiver.recv().expect("it is sent below");
            insert(connection, 1, 1)
        };
        let (ended, end) = mpsc::channel();
        writer.submit(job, move |result| {
            drop(last);
            ended.send(result.is_ok()).unwrap();
        });
        drop(writer);
        sender.send(()).unwrap();
        assert_eq!(end.recv(), Ok(true));
    }
}
