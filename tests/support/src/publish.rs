//! Publishing bytes that need not be a message.

use bytes::Bytes;
use maskline_messages::{Queue, topology::headers};
use maskline_runtime::{Broker, Envelope, broker::Headers};
use uuid::Uuid;

/// Bytes that no service can read as a message.
pub const UNREADABLE: &[u8] = b"{ this is no message";

/// Publishes `body` to `queue` with these headers and no others.
pub async fn raw(
    broker: &dyn Broker,
    queue: Queue,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) {
    let headers = headers.iter().copied();
    let envelope = Envelope {
        key: queue.keys()[0].to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<Headers>(),
        body: body.into(),
    };
    let published = broker.publish(envelope).await;
    published.expect("a broker takes every body");
}

/// Publishes `body` to `queue` with a message id and as the root of a new trace. Returns
/// the trace's id.
pub async fn raw_in_new_trace(broker: &dyn Broker, queue: Queue, body: impl Into<Bytes>) -> String {
    let trace = Uuid::new_v4().simple().to_string();
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let id = Uuid::new_v4().to_string();
    let headers = [
        (headers::MESSAGE_ID, id.as_str()),
        (headers::TRACEPARENT, &traceparent),
    ];
    raw(broker, queue, &headers, body).await;
    trace
}
