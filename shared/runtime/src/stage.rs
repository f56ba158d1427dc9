//! What a service implements: handlers of messages, and workers.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
pub use maskline_foundation::Failure;
use maskline_messages::{Message, QueueMessage};
use tokio::sync::Notify;

use crate::context::{Context, WorkContext};

/// Handles the messages of one queue and returns what to send.
///
/// The runner acknowledges a message only after two things. Everything that `handle`
/// stored is durable: `handle` must ensure that before it returns. Every message of
/// its [`Outcome`] is confirmed by the broker: the runner ensures that. A process may
/// be killed between any two lines, so a message can come again, to another replica,
/// and out of order. Therefore `handle` must be idempotent.
///
/// The runner catches a panic in `handle` and sends the message to the dead letters.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// The messages that the queue carries. The runner refuses every other message.
    type Message: QueueMessage;

    /// How many messages are handled at a time, unless `--concurrency` says otherwise.
    fn concurrency(&self) -> usize;

    async fn handle(&self, message: Self::Message, context: &Context) -> Result<Outcome, Failure>;
}

/// The messages that follow from a handled message.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The messages that are sent together.
    pub messages: Vec<Message>,
    /// A message that is sent only after all of `messages` are confirmed.
    pub last: Option<Message>,
}

impl Outcome {
    /// Nothing is to be sent.
    pub fn done() -> Self {
        Self::default()
    }

    /// One message is to be sent.
    pub fn send(message: impl Into<Message>) -> Self {
        Self {
            messages: vec![message.into()],
            last: None,
        }
    }

    /// These messages are to be sent together.
    pub fn send_all(messages: Vec<Message>) -> Self {
        Self {
            messages,
            last: None,
        }
    }

    /// `message` is to be sent after all others are confirmed.
    pub fn then(self, message: impl Into<Message>) -> Self {
        Self {
            last: Some(message.into()),
            ..self
        }
    }
}

/// A worker's error with which the process must end, because only another one can go on. The
/// other services of the process stop as after a signal.
#[derive(Debug)]
pub struct EndsProcess(pub String);

impl fmt::Display for EndsProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EndsProcess {}

/// Does work that takes longer than a delivery may stay unsettled, such as freezing a dataset or
/// training a network. Each piece of work is a record in the catalog, which a worker
/// acquires with a lease.
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// The worker's name in metrics, such as `freeze`.
    fn name(&self) -> &'static str;

    /// The service's handlers notify this when there is new work. The runner calls
    /// [`work`](Self::work) at the start, after every notification, and every few seconds,
    /// so that work is found that a replica left when it died.
    fn notify(&self) -> Arc<Notify>;

    /// Claims one piece of work, does it and publishes what follows from it with
    /// [`WorkContext::send`]. Returns `false` if there was none to claim.
    ///
    /// The runner logs an error and calls this again later, unless it is [`EndsProcess`]. How
    /// often the same work may
    /// fail is for the worker to decide. When [`WorkContext::stopping`] is cancelled, the
    /// worker ends at its next safe point and gives the lease back.
    async fn work(&self, context: &WorkContext) -> anyhow::Result<bool>;
}
