//! The headers of AMQP messages: who adds them, and their values as text.

use lapin::types::{AMQPValue, FieldTable};
use maskline_messages::topology::headers;

/// The headers that we add to a sender's.
const OURS: [&str; 9] = [
    headers::ATTEMPTS,
    headers::DUE,
    headers::LEFT,
    headers::ERROR,
    headers::ORIGINAL_QUEUE,
    headers::ORIGINAL_KEY,
    headers::KIND,
    headers::STAGE,
    headers::DEAD_AT,
];

/// The prefixes of the headers that RabbitMQ adds when it redelivers or dead-letters.
const BROKERS: [&str; 5] = [
    "x-death",
    "x-first-death-",
    "x-last-death-",
    "x-delivery-count",
    "x-acquired-count",
];

/// True if a header came from the sender of the message, and not from us or RabbitMQ.
pub fn is_senders(name: &str) -> bool {
    !OURS.contains(&name) && !is_brokers(name)
}

/// True if RabbitMQ adds the header.
pub fn is_brokers(name: &str) -> bool {
    BROKERS.iter().any(|prefix| name.starts_with(prefix))
}

/// Adds a header of text.
pub fn insert(headers: &mut FieldTable, name: &str, value: &str) {
    headers.insert(name.into(), AMQPValue::LongString(value.into()));
}

/// A header's value as text, if it can be written as text.
pub fn text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(number) => number.to_string(),
        AMQPValue::ShortShortUInt(number) => number.to_string(),
        AMQPValue::ShortInt(number) => number.to_string(),
        AMQPValue::ShortUInt(number) => number.to_string(),
        AMQPValue::LongInt(number) => number.to_string(),
        AMQPValue::LongUInt(number) => number.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        AMQPValue::Timestamp(seconds) => seconds.to_string(),
        AMQPValue::Float(number) => number.to_string(),
        AMQPValue::Double(number) => number.to_string(),
        AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::ByteArray(_)
        | AMQPValue::Void => return None,
    })
}
