//! What a service is to the runner.

use std::sync::Arc;

use async_trait::async_trait;
pub use maskline_foundation::Failure;
use maskline_messages::{Message, Queue};
use tokio::sync::Notify;

use crate::context::{Context, WorkContext};

/// A stage of the pipeline: takes messages, returns what to send.
///
/// The runner acknowledges a message only after everything that `handle` put
/// somewhere is durable (that is `handle`'s part) and every message of its
/// [`Outcome`] is confirmed by the broker (that is the runner's). A process may
/// be killed between any two lines, so a message can come again, to another
/// replica, and out of order: `handle` must be idempotent.
///
/// A panic in `handle` is caught and is poison.
#[async_trait]
pub trait Stage: Send + Sync + 'static {
    /// The service's name, such as `validator`: in queues' names, spans and metrics.
    fn name(&self) -> &'static str;

    /// The queues that it takes from.
    fn intakes(&self) -> Vec<Intake>;

    async fn handle(&self, message: Message, context: &Context) -> Result<Outcome, Failure>;
}

/// A queue, and how many of its messages are handled at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intake {
    pub queue: Queue,
    pub concurrency: usize,
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
