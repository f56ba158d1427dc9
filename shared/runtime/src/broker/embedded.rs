//! The embedded broker: a queue in a SQLite file, for several processes on one
//! machine.
//!
//! * `file`: the file, and the commits that many share.
//! * `messages`: what is done in it, in SQL.
//! * `notify`: the kernel notifies the consumers of all processes.
//! * `processes`: which processes are alive, so that what a dead one had in hand is given back.
//! * `shared`: the open queue. `consumer`: taking from it and settling.
//!
//! A message that is taken belongs to the process that took it, until it is
//! settled, the process dies, or half an hour has passed.

mod consumer;
mod file;
mod messages;
mod notify;
mod processes;
mod shared;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use maskline_foundation::Backoff;
use maskline_messages::{MAX_BODY, Queue};
use tokio::time::Instant;

use super::{
    dead_letter::{DeadLetter, DeadLetterId},
    delivery::Consumer,
    envelope::Envelope,
    error::BrokerError,
    roles::{Broker, BrokerAdmin, Consume, Depth, Publish},
};
use consumer::Subscription;
use shared::Shared;

/// The most messages in a queue, unless the address says otherwise.
const MAX_LENGTH: u64 = 100_000;

/// How often each process looks for messages that dead processes had in hand.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// How long a publisher waits for room in a full queue.
const ROOM_LIMIT: Duration = Duration::from_secs(1);

/// The waits between two tries to put messages into a full queue, in seconds.
const ROOM_WAITS: Backoff = Backoff::doubling(0.025, 0.025);

/// The queue in a file.
pub struct Embedded {
    shared: Arc<Shared>,
    sweeper: tokio::task::JoinHandle<()>,
}

impl Embedded {
    /// `address` is the part after `embedded:`: a path, and perhaps
    /// `?max_length=N`, the messages that each queue may hold.
    pub async fn open(address: &str) -> Result<Self, BrokerError> {
        let (path, max_length) = parse(address)?;
        let opened = tokio::task::spawn_blocking(move || Shared::open(&path, max_length)).await;
        let shared = opened.map_err(|error| {
            BrokerError::unavailable("opening the queue did not come to an end").caused_by(error)
        })??;
        let shared = Arc::new(shared);
        shared.sweep().await?;
        let sweeping = shared.clone();
        let sweeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                if let Err(error) = sweeping.sweep().await {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "can't look for messages of dead processes");
                }
            }
        });
        Ok(Self { shared, sweeper })
    }
}

fn parse(address: &str) -> Result<(PathBuf, u64), BrokerError> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    if path.is_empty() {
        return Err(BrokerError::misconfigured(
            "no file is named: write embedded:PATH, such as embedded:maskline-data/queue.db",
        ));
    }
    let mut max_length = MAX_LENGTH;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match (name.as_ref(), value.parse()) {
            ("max_length", Ok(length)) => max_length = length,
            _ => {
                return Err(BrokerError::misconfigured(format!(
                    "{name}={value} means nothing to the embedded queue: only max_length=NUMBER does"
                )));
            }
        }
    }
    Ok((PathBuf::from(path), max_length))
}

fn route(envelope: Envelope) -> Result<(Queue, Envelope), BrokerError> {
    let bytes = envelope.body.len();
    if bytes > MAX_BODY {
        let most = MAX_BODY;
        return Err(BrokerError::TooLarge { bytes, most });
    }
    match Queue::of_key(&envelope.key) {
        Some(queue) => Ok((queue, envelope)),
        None => Err(BrokerError::Unroutable(envelope.key)),
    }
}

#[async_trait]
impl Publish for Embedded {
    fn system(&self) -> &'static str {
        "sqlite"
    }

    async fn publish(&self, envelope: Envelope) -> Result<(), BrokerError> {
        self.publish_all(vec![envelope]).await
    }

    /// Publishes all messages or none.
    async fn publish_all(&self, envelopes: Vec<Envelope>) -> Result<(), BrokerError> {
        if envelopes.is_empty() {
            return Ok(());
        }
        let routed = envelopes.into_iter().map(route);
        let routed = Arc::new(routed.collect::<Result<Vec<_>, _>>()?);
        let deadline = Instant::now() + ROOM_LIMIT;
        let mut backoff = ROOM_WAITS;
        loop {
            match self.shared.put(routed.clone()).await {
                Err(BrokerError::Full(_)) if Instant::now() < deadline => {
                    backoff.wait().await;
                }
                put => return put,
            }
        }
    }
}

#[async_trait]
impl Consume for Embedded {
    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        let subscription = Subscription::new(self.shared.clone(), queue, prefetch);
        Ok(Box::new(subscription))
    }
}

#[async_trait]
impl BrokerAdmin for Embedded {
    async fn depths(&self) -> Result<BTreeMap<String, Depth>, BrokerError> {
        self.shared.file.write(messages::depths).await
    }

    async fn lengths(&self) -> Result<BTreeMap<String, u64>, BrokerError> {
        self.shared.file.write(messages::lengths).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BrokerError> {
        let read = move |connection: &_| messages::dead_letters(connection, limit);
        self.shared.file.write(read).await
    }

    async fn replay(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError> {
        let ids = ids.map(<[_]>::to_vec);
        let replay = move |connection: &_| messages::replay(connection, ids.as_deref());
        let (replayed, queues) = self.shared.file.write(replay).await?;
        self.shared.notify(queues);
        Ok(replayed)
    }

    async fn drop_dead_letters(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError> {
        let ids = ids.map(<[_]>::to_vec);
        let dropped = move |connection: &_| messages::drop_dead_letters(connection, ids.as_deref());
        self.shared.file.write(dropped).await
    }
}

#[async_trait]
impl Broker for Embedded {
    async fn ping(&self) -> Result<(), BrokerError> {
        self.shared.file.write(|_| Ok(())).await
    }

    async fn close(&self) {
        self.sweeper.abort();
        self.shared.close().await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.sweeper.abort();
        self.shared.file.close();
    }
}

#[cfg(test)]
mod tests {
    use maskline_messages::Queue;

    use super::*;

    const YEAR_MILLIS: i64 = 365 * 24 * 60 * 60 * 1000;

    async fn open(path: &str) -> Embedded {
        Embedded::open(path).await.expect("it can be opened")
    }

    async fn consumer(queue: &Embedded) -> Box<dyn Consumer> {
        let consumer = queue.consume(Queue::ScraperCandidates, 10).await;
        consumer.expect("it can be consumed")
    }

    #[tokio::test]
    async fn waits_and_time_outs_do_not_follow_a_clock_that_is_set_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("queue.db");
        let path = path.to_str().expect("UTF-8");
        let queue = open(path).await;
        let message = |number: u8| Envelope {
            key: "candidate.found".to_owned(),
            headers: Default::default(),
            body: vec![number].into(),
        };
        queue
            .publish_all(vec![message(1), message(2)])
            .await
            .expect("there is room");
        let mut taking = consumer(&queue).await;
        let first = taking.next().await.expect("it is open");
        let held = taking.next().await.expect("it is open");
        let wait = Duration::from_millis(300);
        first.settle.retry(wait, "not yet").await.expect("ours");
        // The clock was a year ahead until now.
        let connection = rusqlite::Connection::open(path).expect("a database");
        let shifted = connection.execute(
            "UPDATE messages SET due = due + ?1, delayed = delayed + ?1, claimed = claimed + ?1",
            [YEAR_MILLIS],
        );
        assert_eq!(shifted, Ok(2));
        let other = open(path).await;
        let claimed = "SELECT max(claimed) FROM messages WHERE owner IS NOT NULL";
        let claimed: i64 = connection
            .query_row(claimed, [], |row| row.get(0))
            .expect("one is in hand");
        let now = maskline_foundation::time::unix_millis() as i64;
        assert!(now - claimed < YEAR_MILLIS / 2, "its time-out begins now");
        let mut waiting = consumer(&other).await;
        let again = tokio::time::timeout(Duration::from_secs(30), waiting.next()).await;
        let again = again.expect("it is due").expect("it is open");
        assert_eq!((again.envelope.body[0], again.attempts), (1, 1));
        drop(held);
        queue.close().await;
        other.close().await;
    }
}
