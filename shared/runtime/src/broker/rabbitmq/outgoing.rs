//! Messages on their way to RabbitMQ.

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use maskline_messages::{
    MAX_BODY, Queue,
    topology::{EXCHANGE, headers},
};

use crate::broker::{
    envelope::{Envelope, Headers},
    error::BrokerError,
};

/// The most bytes of all headers together. They must fit in one frame, which has 128 KiB.
const MAX_HEADERS: usize = 64 * 1024;

/// The most bytes of a routing key or a header's name, by the protocol.
const MAX_NAME: usize = 255;

/// The delivery mode of a message that outlives a restart of the broker.
const PERSISTENT: u8 = 2;

/// A message on its way to the broker.
pub struct Outgoing {
    pub exchange: &'static str,
    pub key: String,
    pub properties: BasicProperties,
    pub body: Bytes,
}

impl Outgoing {
    /// A sender's message, for the queue that its key is bound to.
    pub fn new(envelope: Envelope) -> Result<Self, BrokerError> {
        let Envelope { key, headers, body } = envelope;
        if body.len() > MAX_BODY {
            return Err(BrokerError::TooLarge {
                bytes: body.len(),
                most: MAX_BODY,
            });
        }
        if key.len() > MAX_NAME {
            return Err(BrokerError::Unroutable(key));
        }
        let id = headers.get(headers::MESSAGE_ID).cloned();
        Ok(Self::to_exchange(key, table(headers)?, id, body))
    }

    /// A message for the queue that the key is bound to.
    pub fn to_exchange(key: String, headers: FieldTable, id: Option<String>, body: Bytes) -> Self {
        Self {
            exchange: EXCHANGE,
            key,
            properties: properties(headers, id),
            body,
        }
    }

    /// A message for the queue of that name.
    pub fn to_queue(queue: &str, headers: FieldTable, id: Option<String>, body: Bytes) -> Self {
        Self {
            // The default exchange.
            exchange: "",
            key: queue.to_owned(),
            properties: properties(headers, id),
            body,
        }
    }

    /// The name of the queue that it is for. If no known queue has the key, this is the key.
    pub fn queue(&self) -> &str {
        match Queue::of_key(&self.key) {
            Some(queue) if self.exchange == EXCHANGE => queue.name(),
            _ => &self.key,
        }
    }
}

fn table(headers: Headers) -> Result<FieldTable, BrokerError> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MAX_HEADERS {
        let most = MAX_HEADERS;
        return Err(BrokerError::TooLarge { bytes, most });
    }
    let mut table = FieldTable::default();
    for (name, value) in headers {
        let name = ShortString::try_new(name).map_err(|error| {
            BrokerError::misconfigured(format!(
                "a header's name has more than {MAX_NAME} bytes ({error})"
            ))
        })?;
        table.insert(name, AMQPValue::LongString(value.into()));
    }
    Ok(table)
}

fn properties(headers: FieldTable, id: Option<String>) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    match id.map(ShortString::try_new) {
        Some(Ok(id)) => properties.with_message_id(id),
        _ => properties,
    }
}
