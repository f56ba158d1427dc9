//! The embedded broker: a queue in a SQLite file, for several processes on one
//! machine.
//!
//! * `file`: the file, and the commits that many share.
//! * `messages`: what is done in it, in SQL.
//! * `wake`: consumers of all processes are woken by the kernel.
//! * `processes`: what a dead process had in hand is given back.
//!
//! A message that is taken belongs to the process that took it, until it is
//! settled, the process dies, or [`VISIBILITY`] has passed.

mod file;
mod messages;
mod processes;
mod wake;

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use maskline_messages::Queue;
use tokio::{sync::Notify, time::Instant};

use super::{
    Broker, BrokerError, Consumer, DeadLetter, DeadLetterId, Delivery, Depth, Envelope, MAX_BODY,
    Settle, Why,
};
use file::File;
use messages::Taken;
use processes::Process;
use wake::Wake;

/// Messages that a queue may hold, unless the address says otherwise.
const MAX_LENGTH: u64 = 100_000;

/// How long a living process may keep a message in hand: RabbitMQ's default, too.
const VISIBILITY: Duration = Duration::from_secs(30 * 60);

/// How often somebody looks for what the dead left behind.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// A waiting consumer looks by itself this often, should the kernel have no
/// watches left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a publisher waits for room in a full queue, and between two tries.
const ROOM_LIMIT: Duration = Duration::from_secs(1);
const ROOM_STEP: Duration = Duration::from_millis(25);

/// Messages taken from the file at a time.
const TAKE: usize = 64;

/// The queue in a file.
pub struct Embedded {
    shared: Arc<Shared>,
    sweeper: tokio::task::JoinHandle<()>,
}

struct Shared {
    file: File,
    wake: Wake,
    process: Process,
    max_length: u64,
    closed: AtomicBool,
}

impl Embedded {
    /// `address` is the part after `embedded:`: a path, and perhaps
    /// `?max_length=N`, the messages that each queue may hold.
    pub async fn open(address: &str) -> Result<Self, BrokerError> {
        let (path, max_length) = parse(address)?;
        let opened = tokio::task::spawn_blocking(move || Shared::open(&path, max_length)).await;
        let shared = opened.map_err(|error| BrokerError::Unavailable(error.to_string()))??;
        let shared = Arc::new(shared);
        shared.sweep().await?;
        let sweeping = shared.clone();
        let sweeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                if let Err(error) = sweeping.sweep().await {
                    tracing::warn!(%error, "looking for messages of dead processes");
                }
            }
        });
        Ok(Self { shared, sweeper })
    }
}

fn parse(address: &str) -> Result<(PathBuf, u64), BrokerError> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    if path.is_empty() {
        return Err(BrokerError::Misconfigured(
            "no file is named: write embedded:PATH, such as embedded:maskline-data/queue.db"
                .to_owned(),
        ));
    }
    let mut max_length = MAX_LENGTH;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match (name.as_ref(), value.parse()) {
            ("max_length", Ok(length)) => max_length = length,
            _ => {
                return Err(BrokerError::Misconfigured(format!(
                    "{name}={value} means nothing to the embedded queue: only max_length=NUMBER does"
                )));
            }
        }
    }
    Ok((PathBuf::from(path), max_length))
}

impl Shared {
    fn open(path: &Path, max_length: u64) -> Result<Self, BrokerError> {
        let file = File::open(path)?;
        let beside = |what: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(what);
            path.with_file_name(name)
        };
        let unusable = |error: std::io::Error| {
            BrokerError::Misconfigured(format!(
                "the files beside {} can't be made: {error}",
                path.display()
            ))
        };
        Ok(Self {
            wake: Wake::open(&beside("-wake")).map_err(unusable)?,
            process: Process::enter(&beside("-processes")).map_err(unusable)?,
            file,
            max_length,
            closed: AtomicBool::new(false),
        })
    }

    /// Gives back what the dead had in hand, and what the living have had for too long.
    async fn sweep(&self) -> Result<(), BrokerError> {
        let dead = self.process.dead().map_err(|error| {
            BrokerError::Unavailable(format!("{}: {error}", self.file.path().display()))
        })?;
        let gone = dead.clone();
        let queues = self
            .file
            .write(move |connection| messages::give_back(connection, &gone, VISIBILITY).map(Ok))
            .await?;
        dead.iter().for_each(|name| self.process.bury(name));
        queues.into_iter().for_each(|queue| self.wake.ring(queue));
        Ok(())
    }

    async fn put(&self, routed: Arc<Vec<(Queue, Envelope)>>) -> Result<(), BrokerError> {
        let (all, most) = (routed.clone(), self.max_length);
        self.file
            .write(move |connection| messages::put(connection, &all, most))
            .await?;
        let mut queues: Vec<Queue> = routed.iter().map(|(queue, _)| *queue).collect();
        queues.sort_unstable();
        queues.dedup();
        queues.into_iter().for_each(|queue| self.wake.ring(queue));
        Ok(())
    }
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
impl Broker for Embedded {
    fn system(&self) -> &'static str {
        "sqlite"
    }

    async fn publish(&self, envelope: Envelope) -> Result<(), BrokerError> {
        self.publish_all(vec![envelope]).await
    }

    /// All or none.
    async fn publish_all(&self, envelopes: Vec<Envelope>) -> Result<(), BrokerError> {
        if envelopes.is_empty() {
            return Ok(());
        }
        let routed = envelopes.into_iter().map(route);
        let routed = Arc::new(routed.collect::<Result<Vec<_>, _>>()?);
        let patience = Instant::now() + ROOM_LIMIT;
        loop {
            match self.shared.put(routed.clone()).await {
                Err(BrokerError::Full(_)) if Instant::now() < patience => {
                    tokio::time::sleep(ROOM_STEP).await;
                }
                put => return put,
            }
        }
    }

    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        Ok(Box::new(Subscription {
            bell: self.shared.wake.bell(queue),
            shared: self.shared.clone(),
            queue,
            prefetch: usize::from(prefetch.max(1)),
            in_hand: Arc::default(),
            taken: VecDeque::new(),
            closed: false,
        }))
    }

    async fn depths(&self) -> Result<BTreeMap<String, Depth>, BrokerError> {
        let counted = |connection: &_| messages::depths(connection).map(Ok);
        self.shared.file.write(counted).await
    }

    async fn lengths(&self) -> Result<BTreeMap<String, u64>, BrokerError> {
        let counted = |connection: &_| messages::lengths(connection).map(Ok);
        self.shared.file.write(counted).await
    }

    async fn dead_letters(&self, most: usize) -> Result<Vec<DeadLetter>, BrokerError> {
        let read = move |connection: &_| messages::dead_letters(connection, most).map(Ok);
        self.shared.file.write(read).await
    }

    async fn replay(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError> {
        let ids = ids.map(<[_]>::to_vec);
        let (replayed, queues) = self
            .shared
            .file
            .write(move |connection| messages::replay(connection, ids.as_deref()).map(Ok))
            .await?;
        queues
            .into_iter()
            .for_each(|queue| self.shared.wake.ring(queue));
        Ok(replayed)
    }

    async fn drop_dead_letters(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError> {
        let ids = ids.map(<[_]>::to_vec);
        let dropped =
            move |connection: &_| messages::drop_dead_letters(connection, ids.as_deref()).map(Ok);
        self.shared.file.write(dropped).await
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.shared.file.write(|_| Ok(Ok(()))).await
    }

    async fn close(&self) {
        if self.shared.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.sweeper.abort();
        let me = [self.shared.process.name.clone()];
        let given_back = self
            .shared
            .file
            .write(move |connection| messages::give_back(connection, &me, VISIBILITY).map(Ok))
            .await;
        match given_back {
            Ok(queues) => queues
                .into_iter()
                .for_each(|queue| self.shared.wake.ring(queue)),
            Err(error) => {
                tracing::warn!(%error, "what is in hand comes back when this process has ended")
            }
        }
        self.shared.file.close();
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.sweeper.abort();
        self.shared.file.close();
    }
}

/// A consumer.
struct Subscription {
    shared: Arc<Shared>,
    bell: Arc<Notify>,
    queue: Queue,
    prefetch: usize,
    in_hand: Arc<InHand>,
    /// Taken from the file and not yet asked for.
    taken: VecDeque<Delivery>,
    closed: bool,
}

/// How many deliveries of one consumer are unsettled.
#[derive(Default)]
struct InHand {
    count: AtomicUsize,
    fewer: Notify,
}

#[async_trait]
impl Consumer for Subscription {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            // First: what was taken went back when the broker was closed.
            if self.closed || self.shared.closed.load(Ordering::SeqCst) {
                return None;
            }
            if let Some(delivery) = self.taken.pop_front() {
                return Some(delivery);
            }
            self.take_or_wait().await;
        }
    }

    async fn close(&mut self) {
        self.closed = true;
        // Each goes back to the queue as it is dropped.
        self.taken.clear();
    }
}

impl Subscription {
    /// Takes what there is, or waits for a reason to look again.
    async fn take_or_wait(&mut self) {
        let in_hand = self.in_hand.clone();
        // Listening before looking: what happens in between is not missed.
        let bell = self.bell.clone();
        let (mut rung, mut fewer) = (
            std::pin::pin!(bell.notified()),
            std::pin::pin!(in_hand.fewer.notified()),
        );
        rung.as_mut().enable();
        fewer.as_mut().enable();
        let room = self
            .prefetch
            .saturating_sub(in_hand.count.load(Ordering::SeqCst));
        if room == 0 {
            fewer.await;
            return;
        }
        let again = match self.take(room.min(TAKE)).await {
            Ok(_) if !self.taken.is_empty() => return,
            Ok(next_due) => next_due.unwrap_or(LOOK_EVERY).min(LOOK_EVERY),
            Err(error) => {
                tracing::warn!(%error, queue = self.queue.name(), "can't take messages");
                LOOK_EVERY
            }
        };
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep(again) => {}
        }
    }

    /// Returns how long the next message that waits for its retry still waits.
    async fn take(&mut self, most: usize) -> Result<Option<Duration>, BrokerError> {
        let (queue, owner) = (self.queue, self.shared.process.name.clone());
        let (shared, in_hand) = (self.shared.clone(), self.in_hand.clone());
        let (taken, next_due) = self
            .shared
            .file
            .write(move |connection| {
                let (rows, next_due) = messages::take(connection, queue, &owner, most)?;
                // Made here, so that they go back if nobody waits for them any more.
                let delivery = |taken| delivery(taken, queue, &shared, &in_hand);
                let taken: Vec<Delivery> = rows.into_iter().map(delivery).collect();
                Ok(Ok((taken, next_due)))
            })
            .await?;
        self.taken.extend(taken);
        Ok(next_due)
    }
}

fn delivery(taken: Taken, queue: Queue, shared: &Arc<Shared>, in_hand: &Arc<InHand>) -> Delivery {
    in_hand.count.fetch_add(1, Ordering::SeqCst);
    Delivery {
        queue,
        envelope: taken.envelope,
        attempts: taken.attempts,
        redelivered: taken.redelivered,
        settle: Box::new(Claim {
            id: taken.id,
            claim: taken.claim,
            queue,
            shared: shared.clone(),
            in_hand: in_hand.clone(),
            settled: false,
        }),
    }
}

/// A message in hand.
struct Claim {
    id: i64,
    claim: i64,
    queue: Queue,
    shared: Arc<Shared>,
    in_hand: Arc<InHand>,
    settled: bool,
}

impl Claim {
    /// Settles it in the file; `work` returns whether it was still ours.
    async fn settle(
        mut self: Box<Self>,
        work: impl FnOnce(&rusqlite::Connection, &str, i64, i64) -> rusqlite::Result<bool>
        + Send
        + 'static,
    ) -> Result<(), BrokerError> {
        let (id, claim, owner) = (self.id, self.claim, self.shared.process.name.clone());
        let ours = self
            .shared
            .file
            .write(move |connection| work(connection, &owner, id, claim).map(Ok))
            .await?;
        // Only now: cut off or failed, it goes back as it is dropped, and if it
        // was settled after all, that changes nothing.
        self.settled = true;
        if ours {
            Ok(())
        } else {
            Err(BrokerError::Stale)
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.in_hand.count.fetch_sub(1, Ordering::SeqCst);
        self.in_hand.fewer.notify_waiters();
        if self.settled {
            return;
        }
        let (id, claim, shared, queue) = (self.id, self.claim, self.shared.clone(), self.queue);
        self.shared.file.write_soon(move |connection| {
            if messages::release(connection, &shared.process.name, id, claim)? {
                shared.wake.ring(queue);
            }
            Ok(())
        });
    }
}

#[async_trait]
impl Settle for Claim {
    async fn ack(self: Box<Self>) -> Result<(), BrokerError> {
        let queue = self.queue;
        self.settle(move |connection, owner, id, claim| {
            messages::ack(connection, queue, owner, id, claim)
        })
        .await
    }

    async fn retry(self: Box<Self>, after: Duration, error: &str) -> Result<(), BrokerError> {
        let (error, shared, queue) = (error.to_owned(), self.shared.clone(), self.queue);
        self.settle(move |connection, owner, id, claim| {
            messages::retry(connection, owner, id, claim, after, &error)
        })
        .await?;
        // Who waits must know how long now.
        shared.wake.ring(queue);
        Ok(())
    }

    async fn dead_letter(self: Box<Self>, why: &Why) -> Result<(), BrokerError> {
        let (why, queue) = (why.clone(), self.queue);
        self.settle(move |connection, owner, id, claim| {
            messages::bury(connection, queue, owner, id, claim, &why)
        })
        .await
    }

    async fn release(self: Box<Self>) -> Result<(), BrokerError> {
        let (shared, queue) = (self.shared.clone(), self.queue);
        self.settle(messages::release).await?;
        shared.wake.ring(queue);
        Ok(())
    }
}
