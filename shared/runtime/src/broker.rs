//! What a broker owes to the stage runner, whichever it is.
//!
//! The promises, tested by one contract suite over every implementation:
//!
//! * [`Broker::publish`] returns `Ok` only when the message is durable in the
//!   queue that its key leads to. A key without a queue is an error, never a
//!   silent loss.
//! * A delivery is redelivered (to this or another consumer) unless it was
//!   settled: a consumer that dies loses nothing.
//! * A queue that is full makes publishers wait, and then fail with
//!   [`BrokerError::Full`]; it drops nothing.
//! * A consumer waiting on an empty queue is woken within milliseconds.
//! * A lost connection is repaired behind the trait: a publish in that time
//!   fails with [`BrokerError::Unavailable`] after its time limit, a consumer
//!   waits and goes on.

mod embedded;
mod rabbitmq;

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
pub use maskline_messages::MAX_BODY;
use maskline_messages::Queue;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Header names and values, all text.
pub type Headers = BTreeMap<String, String>;

/// A message as a broker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The routing key.
    pub key: String,
    pub headers: Headers,
    pub body: Bytes,
}

/// What went wrong, by kind: callers decide by kind, never by message.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// Not reachable, or no confirmation in time. Worth another try.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// The queue has as many messages as it may hold. Worth another try.
    #[error("queue {0} is full")]
    Full(String),
    /// No queue takes this routing key.
    #[error("no queue takes the routing key {0}")]
    Unroutable(String),
    /// The body is larger than a message may be.
    #[error("the message has {bytes} bytes, {most} at most")]
    TooLarge { bytes: usize, most: usize },
    /// The delivery is no longer this consumer's: it will be delivered again.
    #[error("the delivery was taken back: it will come again")]
    Stale,
    /// The address, the credentials or the stored data are wrong: no retry helps.
    #[error("{0}")]
    Misconfigured(String),
}

#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// OpenTelemetry's `messaging.system`: `rabbitmq`, or `sqlite` for the embedded queue.
    fn system(&self) -> &'static str;

    /// Host and port of the server that it is connected to; `None` for a file, and while
    /// there is none.
    fn server(&self) -> Option<(String, u16)> {
        None
    }

    /// Publishes one message and waits until it is durable.
    async fn publish(&self, envelope: Envelope) -> Result<(), BrokerError>;

    /// Publishes all, together and so faster than one by one. On an error some
    /// may have been published.
    async fn publish_all(&self, envelopes: Vec<Envelope>) -> Result<(), BrokerError> {
        futures::future::try_join_all(envelopes.into_iter().map(|e| self.publish(e))).await?;
        Ok(())
    }

    /// Takes messages from a queue, at most `prefetch` unsettled at a time.
    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Messages by queue: waiting, delivered and not yet settled, waiting for a retry.
    /// To look at, not to decide by: RabbitMQ's are of a moment ago, so that what a
    /// consumer has just given back may lack, and a queue that takes it longer than 250 ms
    /// to count is called empty.
    async fn depths(&self) -> Result<BTreeMap<String, Depth>, BrokerError>;

    /// Messages that wait by queue, the dead letters' own included. As
    /// [`depths`](Self::depths) and cheaper: asked for whenever somebody reads the metrics.
    async fn lengths(&self) -> Result<BTreeMap<String, u64>, BrokerError>;

    /// The dead letters, oldest first, at most `most`. Leaves them where they are.
    async fn dead_letters(&self, most: usize) -> Result<Vec<DeadLetter>, BrokerError>;

    /// Sends dead letters back to the queues they came from, their attempts
    /// forgotten; `None` means all. Returns how many. None is lost if the
    /// process dies in between.
    async fn replay(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError>;

    /// Removes dead letters for good; `None` means all. Returns how many.
    async fn drop_dead_letters(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError>;

    /// Whether the broker answers now.
    async fn ping(&self) -> Result<(), BrokerError>;

    /// Gives back what is unsettled and closes the connection.
    async fn close(&self);
}

/// A subscription to one queue.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next delivery, through reconnects. `None` once it was closed.
    async fn next(&mut self) -> Option<Delivery>;

    /// Takes no more. What was prefetched and not returned by [`next`](Self::next)
    /// goes back to the queue; unsettled deliveries can still be settled.
    async fn close(&mut self);
}

/// A message in hand. Dropped unsettled, it is delivered again.
pub struct Delivery {
    pub queue: Queue,
    pub envelope: Envelope,
    /// Earlier attempts that ended in a retry.
    pub attempts: u32,
    /// How often it was delivered before, since its last retry, and not settled: its
    /// consumers died or gave it back.
    pub redelivered: u32,
    pub settle: Box<dyn Settle>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            queue,
            envelope,
            attempts,
            redelivered,
            settle: _,
        } = self;
        f.debug_struct("Delivery")
            .field("queue", queue)
            .field("envelope", envelope)
            .field("attempts", attempts)
            .field("redelivered", redelivered)
            .finish_non_exhaustive()
    }
}

/// The ends that a delivery can come to. All are durable when they return.
#[async_trait]
pub trait Settle: Send + Sync {
    /// Done: forget it.
    async fn ack(self: Box<Self>) -> Result<(), BrokerError>;

    /// Deliver it again after about `after`, with `attempts` one higher. `error`
    /// stays with it for whoever looks.
    async fn retry(self: Box<Self>, after: Duration, error: &str) -> Result<(), BrokerError>;

    /// To the dead letters.
    async fn dead_letter(self: Box<Self>, why: &Why) -> Result<(), BrokerError>;

    /// Back to the queue as it was, at once: it was not begun.
    async fn release(self: Box<Self>) -> Result<(), BrokerError>;
}

/// Why a message is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    pub kind: WhyKind,
    /// The service that gave up.
    pub stage: String,
    /// The error with its causes.
    pub error: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyKind {
    /// The world was not ready, too often.
    RetriesExhausted,
    /// This program can't handle it.
    Poison,
}

/// Messages of one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Depth {
    pub ready: u64,
    pub unsettled: u64,
    pub delayed: u64,
}

/// Names a dead letter while it lies there: a UUID given when it was buried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeadLetterId(pub String);

/// A message that was given up, with everything known about why.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: DeadLetterId,
    pub queue: String,
    pub envelope: Envelope,
    pub kind: WhyKind,
    pub stage: String,
    pub error: String,
    pub attempts: u32,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
}

/// Milliseconds since the Unix epoch.
fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Connects to the broker at `url`: `amqp://…` or `embedded:FILE`.
pub async fn open(url: &str) -> Result<Arc<dyn Broker>, BrokerError> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "embedded" => Ok(Arc::new(embedded::Embedded::open(rest).await?)),
        "amqp" | "amqps" => Ok(Arc::new(rabbitmq::RabbitMq::open(url).await?)),
        _ => Err(BrokerError::Misconfigured(
            "the address names no broker: write amqp://USER:PASSWORD@HOST:PORT/VHOST or embedded:PATH".to_owned(),
        )),
    }
}
