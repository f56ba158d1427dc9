//! The circumstances of a delivery and of a worker's work.

use maskline_messages::Message;
use tokio_util::sync::CancellationToken;

use crate::{broker::BrokerError, sender::Sender};

/// The circumstances of one delivery.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// How many earlier attempts at this message ended in a retry.
    pub attempts: u32,
    /// True if this attempt is the last one. A retry after it dead-letters the message.
    pub last_attempt: bool,
    /// The W3C trace id (32 hexadecimal digits) of the message's trace, if it has one.
    pub trace_id: Option<String>,
}

/// The circumstances of a [`Worker`](crate::Worker)'s work.
#[derive(Clone)]
pub struct WorkContext {
    /// The name of this process, which no other process has. It owns the leases that it
    /// acquires by this name.
    pub instance: String,
    /// Is cancelled when the service is asked to stop.
    pub stopping: CancellationToken,
    /// Publishes the messages that follow from the work.
    pub sender: Sender,
}

impl WorkContext {
    /// Publishes and waits until the message is durable.
    pub async fn send(&self, message: impl Into<Message> + Send) -> Result<(), BrokerError> {
        self.sender.send(message.into()).await
    }
}
