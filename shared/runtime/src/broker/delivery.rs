//! Deliveries, and how they are settled.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use maskline_messages::Queue;

use super::{dead_letter::DeadLetterReason, envelope::Envelope, error::BrokerError};

/// The gauge of the messages that a consumer's process holds until they are due. It has the label
/// `queue`.
pub const DELAYED: &str = "maskline_messages_delayed";

/// A subscription to one queue.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next delivery, through reconnects. `None` once the consumer is closed.
    async fn next(&mut self) -> Option<Delivery>;

    /// Takes no more. What was prefetched and not returned by [`next`](Self::next)
    /// goes back to the queue. Unsettled deliveries can still be settled.
    async fn close(&mut self);
}

/// A message in hand: it was delivered and is not settled yet. If it is dropped unsettled, it is
/// delivered again.
pub struct Delivery {
    pub queue: Queue,
    pub envelope: Envelope,
    /// Earlier attempts that ended in a retry.
    pub attempts: u32,
    /// How often it was delivered since its last retry without being settled, because its
    /// consumer died or gave it back.
    pub redelivered: u32,
    /// It was delivered before, however that ended.
    pub came_before: bool,
    pub settle: Box<dyn Settle>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            queue,
            envelope,
            attempts,
            redelivered,
            came_before,
            settle: _,
        } = self;
        f.debug_struct("Delivery")
            .field("queue", queue)
            .field("envelope", envelope)
            .field("attempts", attempts)
            .field("redelivered", redelivered)
            .field("came_before", came_before)
            .finish_non_exhaustive()
    }
}

/// The ways to settle a delivery. Each is durable when it returns.
#[async_trait]
pub trait Settle: Send + Sync {
    /// The message is handled: the broker forgets it.
    async fn ack(self: Box<Self>) -> Result<(), BrokerError>;

    /// The message is delivered again after about `after`, with `attempts` one higher.
    /// `error` stays with it, for a person who looks at it.
    async fn retry(self: Box<Self>, after: Duration, error: &str) -> Result<(), BrokerError>;

    /// The message is delivered again after about `after`, with `attempts` as they are,
    /// because its turn has not come. `why` stays with it, for a person who looks at it.
    async fn postpone(self: Box<Self>, after: Duration, why: &str) -> Result<(), BrokerError>;

    /// The message goes to the dead letters.
    async fn dead_letter(self: Box<Self>, reason: &DeadLetterReason) -> Result<(), BrokerError>;

    /// The message goes back to its queue as it was, at once, because nothing was done
    /// for it.
    async fn release(self: Box<Self>) -> Result<(), BrokerError>;
}
