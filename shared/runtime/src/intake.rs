//! A queue that a service takes messages from.

use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use maskline_messages::{Message, Queue, QueueMessage};

use crate::{
    context::Context,
    stage::{Failure, Handler, Outcome},
};

/// A queue and its handler. The type of the handler's messages is erased, so that one
/// runner serves all handlers.
#[derive(Clone)]
pub struct Intake {
    pub queue: Queue,
    /// How many messages are handled at a time, unless `--concurrency` says otherwise.
    pub concurrency: usize,
    handler: Arc<dyn AnyHandler>,
}

impl Intake {
    pub fn new<H: Handler>(handler: H) -> Self {
        Self {
            queue: H::Message::QUEUE,
            concurrency: handler.concurrency(),
            handler: Arc::new(handler),
        }
    }

    /// Passes the message to the handler. A message that the queue does not carry is
    /// poison, and the handler does not see it.
    pub async fn handle(&self, message: Message, context: &Context) -> Result<Outcome, Failure> {
        self.handler.handle_any(message, context).await
    }
}

#[async_trait]
trait AnyHandler: Send + Sync {
    async fn handle_any(&self, message: Message, context: &Context) -> Result<Outcome, Failure>;
}

#[async_trait]
impl<H: Handler> AnyHandler for H {
    async fn handle_any(&self, message: Message, context: &Context) -> Result<Outcome, Failure> {
        match H::Message::try_from(message) {
            Ok(message) => self.handle(message, context).await,
            Err(other) => Err(Failure::poison(anyhow!(
                "queue {} does not carry {} messages",
                H::Message::QUEUE,
                other.key()
            ))),
        }
    }
}
