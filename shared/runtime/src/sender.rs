//! Messages out: the `send` span, the trace context in the headers, the publish.

use std::sync::Arc;

use bytes::Bytes;
use maskline_messages::{Message, topology::headers};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    broker::{Broker, BrokerError, Envelope, Headers},
    telemetry::Sending,
};

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
        let (sending, envelope) = self.outgoing(&message);
        let published = self
            .broker
            .publish(envelope)
            .instrument(sending.span())
            .await;
        published.inspect_err(|error| sending.failed(error))
    }

    /// Publishes all and waits until all are durable. On an error some may have
    /// been published.
    pub async fn send_all(&self, messages: &[Message]) -> Result<(), BrokerError> {
        match messages {
            [] => Ok(()),
            [one] => self.send(one.clone()).await,
            many => {
                let outgoing = many.iter().map(|message| self.outgoing(message));
                let (sendings, envelopes): (Vec<_>, Vec<_>) = outgoing.unzip();
                let published = self.broker.publish_all(envelopes).await;
                published.inspect_err(|error| {
                    for sending in &sendings {
                        sending.failed(error);
                    }
                })
            }
        }
    }

    fn outgoing(&self, message: &Message) -> (Sending, Envelope) {
        let id = Uuid::now_v7().to_string();
        let mut envelope = Envelope {
            key: message.key().to_owned(),
            headers: Headers::from([(headers::MESSAGE_ID.to_owned(), id)]),
            body: Bytes::from(message.to_json()),
        };
        let sending = Sending::start(self.broker.system(), message, &mut envelope);
        (sending, envelope)
    }
}
