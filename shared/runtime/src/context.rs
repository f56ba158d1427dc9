//! What a handler knows beside its message.

use maskline_messages::Message;
use tokio_util::sync::CancellationToken;

use crate::{broker::BrokerError, sender::Sender};

/// The circumstances of one delivery.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Earlier attempts at this message that ended in a retry.
    pub attempts: u32,
    /// Whether a retry after this attempt is refused: the message would be dead-lettered.
    pub last_attempt: bool,
    /// The W3C trace id (32 hexadecimal digits) of the message's trace, if it has one.
    pub trace_id: Option<String>,
}

/// The circumstances of a [`Worker`](crate::Worker)'s work.
#[derive(Clone)]
pub struct WorkContext {
    /// This process, unique among all: the owner of the leases it takes.
    pub instance: String,
    /// Cancelled when the service is asked to stop.
    pub stopping: CancellationToken,
    pub sender: Sender,
}

impl WorkContext {
    /// Publishes and waits until the message is durable.
    pub async fn send(&self, message: impl Into<Message> + Send) -> Result<(), BrokerError> {
        self.sender.send(message.into()).await
    }
}
