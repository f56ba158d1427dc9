//! What a service implements: handlers of messages, and workers.

use std::sync::Arc;

use async_trait::async_trait;
pub use maskline_foundation::Failure;
use maskline_messages::{Message, QueueMessage};
use tokio::sync::Notify;

use crate::context::{Context, WorkContext};

/// Handles the messages of one queue and returns what to send.
///
/// The runner acknowledges a message only after two things: everything that `handle`
/// stored is durable, which `handle` sees to before it returns, and every message of
/// its [`Outcome`] is confirmed by the broker, which the runner sees to. A process may
/// be killed between any two lines, so a message can come again, to another replica,
/// and out of order: `handle` must be idempotent.
///
/// The runner catches a panic in `handle` and sends the message to the dead letters.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// What the queue carries. The runner refuses every other message.
    type Message: QueueMessage;

    /// How many messages are handled at a time, unless `--concurrency` says otherwise.
    fn concurrency(&self) -> usize;

    async fn handle(&self, message: Self::Message, context: &Context) -> Result<Outcome, Failure>;
}

/// What a handled message causes.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Sent together.
    pub messages: Vec<Message>,
    /// Sent only after `messages` are all confirmed.
    pub last: Option<Message>,
}

impl Outcome {
    /// Nothing to send.
    pub fn done() -> Self {
        Self::default()
    }

    pub fn send(message: impl Into<Message>) -> Self {
        Self {
            messages: vec![message.into()],
            last: None,
        }
    }

    pub fn send_all(messages: Vec<Message>) -> Self {
        Self {
            messages,
            last: None,
        }
    }

    /// `message` is sent after all others are confirmed.
    pub fn then(self, message: impl Into<Message>) -> Self {
        Self {
            last: Some(message.into()),
            ..self
        }
    }
}

/// Work that outlasts a delivery: a record in the catalog that is claimed with a
/// lease (freezing a dataset, a training run).
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// Such as `freeze`: in spans and metrics.
    fn name(&self) -> &'static str;

    /// Notified by the stage when it knows of new work. The runner looks for
    /// work at every notice, at start, and every few seconds for what was left
    /// by a replica that died.
    fn wake(&self) -> Arc<Notify>;

    /// Claims one piece of work, does it and publishes what follows from it with
    /// [`WorkContext::send`]. `false`: there was none to claim. An error is
    /// logged and the work tried again later; a bound on that is the worker's.
    /// On [`WorkContext::stopping`] it ends at its next safe point and gives the
    /// lease back.
    async fn work(&self, context: &WorkContext) -> anyhow::Result<bool>;
}
