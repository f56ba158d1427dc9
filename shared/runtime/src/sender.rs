//! Sending messages, each with a `send` span whose context goes into its headers.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use maskline_messages::{CandidateId, Message, topology::headers};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    broker::{BrokerError, Envelope, Headers, Publish},
    telemetry::Sending,
};

/// Publishes [`Message`]s in the trace of the current span.
#[derive(Clone)]
pub struct Sender {
    broker: Arc<dyn Publish>,
    /// The candidate in whose trace the current span is.
    about: Option<CandidateId>,
}

impl Sender {
    pub fn new(broker: Arc<dyn Publish>) -> Self {
        Self {
            broker,
            about: None,
        }
    }

    /// A sender for what follows from `message`. A message about another candidate than that
    /// one begins a trace of its own, linked to the current one: each image has one trace,
    /// and the job another.
    #[must_use]
    pub fn following(&self, message: &Message) -> Self {
        Self {
            broker: self.broker.clone(),
            about: message.candidate(),
        }
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
        let candidate = message.candidate();
        let sending = if candidate.is_some() && candidate != self.about {
            Sending::beginning_a_trace()
        } else {
            Sending::start()
        };
        sending.describe(&*self.broker, message, &mut envelope);
        (sending, envelope)
    }
}

/// How long ago a message was sent, by its sender's clock.
pub fn age(headers: &Headers) -> Option<Duration> {
    let id = Uuid::try_parse(headers.get(headers::MESSAGE_ID)?).ok()?;
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let sent = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    // A sender's clock may be ahead of ours. Then the message counts as sent just now.
    Some(sent.elapsed().unwrap_or_default())
}
