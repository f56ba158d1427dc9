//! Messages out: the `send` span, the trace context in the headers, the publish.

use std::sync::Arc;

use bytes::Bytes;
use maskline_messages::Message;

use crate::broker::{Broker, BrokerError, Envelope, Headers};

/// Publishes [`Message`]s in the trace of the current span.
#[derive(Clone)]
pub struct Sender {
    broker: Arc<dyn Broker>,
}

impl Sender {
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker }
    }

    /// Publishes and waits until the message is durable.
    pub async fn send(&self, message: Message) -> Result<(), BrokerError> {
        self.broker.publish(envelope(&message)).await
    }

    /// Publishes all and waits until all are durable.
    pub async fn send_all(&self, messages: &[Message]) -> Result<(), BrokerError> {
        self.broker
            .publish_all(messages.iter().map(envelope).collect())
            .await
    }
}

fn envelope(message: &Message) -> Envelope {
    Envelope {
        key: message.key().to_owned(),
        headers: Headers::new(),
        body: Bytes::from(message.to_json()),
    }
}
