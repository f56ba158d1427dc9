//! The roles of a broker, by who needs them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use maskline_messages::Queue;
use serde::Serialize;

use super::{
    dead_letter::{DeadLetter, DeadLetterId},
    delivery::Consumer,
    envelope::Envelope,
    error::BrokerError,
};

/// What a sender of messages needs.
#[async_trait]
pub trait Publish: Send + Sync + 'static {
    /// OpenTelemetry's `messaging.system`: `rabbitmq`, or `sqlite` for the embedded queue.
    fn system(&self) -> &'static str;

    /// Host and port of the server that it is connected to. `None` for a file, and while
    /// there is no connection.
    fn server(&self) -> Option<(String, u16)> {
        None
    }

    /// Publishes one message and waits until it is durable.
    async fn publish(&self, envelope: Envelope) -> Result<(), BrokerError>;

    /// Publishes all messages together, which is faster than one by one. On an error some
    /// may have been published.
    async fn publish_all(&self, envelopes: Vec<Envelope>) -> Result<(), BrokerError> {
        futures::future::try_join_all(envelopes.into_iter().map(|e| self.publish(e))).await?;
        Ok(())
    }
}

/// What a stage needs to take messages.
#[async_trait]
pub trait Consume: Send + Sync + 'static {
    /// Takes messages from a queue, at most `prefetch` unsettled at a time.
    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError>;
}

/// What an operator needs: to see the queues, and to decide about dead letters.
#[async_trait]
pub trait BrokerAdmin: Send + Sync + 'static {
    /// The messages of each queue: those that wait, those that are delivered and not yet
    /// settled, and those that wait for a retry. The numbers are for people, and no program may
    /// decide by them: RabbitMQ's counts are of a moment ago, so that what a consumer has just
    /// given back may be missing, and if RabbitMQ takes longer than 250 ms to count a queue, it
    /// reports the queue as empty.
    async fn depths(&self) -> Result<BTreeMap<String, Depth>, BrokerError>;

    /// The messages that wait in each queue, the dead letters' own included. This is cheaper
    /// than [`depths`](Self::depths), because it is called whenever somebody reads the metrics.
    async fn lengths(&self) -> Result<BTreeMap<String, u64>, BrokerError>;

    /// The dead letters, oldest first, at most `limit`. Leaves them where they are.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BrokerError>;

    /// Sends dead letters back to the queues they came from, with no attempts counted.
    /// `None` means all. Returns how many. None is lost if the process dies in between.
    async fn replay(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError>;

    /// Removes dead letters for good. `None` means all. Returns how many.
    async fn drop_dead_letters(&self, ids: Option<&[DeadLetterId]>) -> Result<usize, BrokerError>;
}

/// All roles. The program that opens a broker gives each part of it the role that it needs.
#[async_trait]
pub trait Broker: Publish + Consume + BrokerAdmin {
    /// Succeeds if the broker answers now.
    async fn ping(&self) -> Result<(), BrokerError>;

    /// Gives back what is unsettled and closes the connection.
    async fn close(&self);
}

/// The messages of one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// Messages that can be taken now.
    pub ready: u64,
    /// Messages that a consumer has in hand.
    pub unsettled: u64,
    /// Messages that wait for a retry.
    pub delayed: u64,
}
