//! Numbered messages, and how the tests send and take them.

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use bytes::Bytes;
use maskline_messages::Queue;
use maskline_runtime::{
    Broker, Delivery, Envelope,
    broker::{Consumer, Headers},
};
use maskline_test_support::wait;

/// The queue that most tests send to, and the key that leads there.
pub const QUEUE: Queue = Queue::ScraperCandidates;
pub const KEY: &str = "candidate.found";

/// The limit of all waiting. Even the slowest machine does not reach it, unless something
/// hangs.
const HANGS: Duration = Duration::from_secs(90);

pub async fn within<T>(awaited: impl Future<Output = T>) -> T {
    wait::within_limit(HANGS, "the broker's answer", awaited).await
}

/// Reads a value again and again until it is `expected`, because a broker's counts may be a
/// moment old.
pub async fn becomes<T: PartialEq + Debug>(expected: T, read: impl AsyncFn() -> T) {
    wait::becomes(HANGS, expected, read).await;
}

/// The `n`th message of a test.
pub fn message(n: u32) -> Envelope {
    to(KEY, n)
}

/// The `n`th message of a test, with another key.
pub fn to(key: &str, n: u32) -> Envelope {
    let headers = [
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("maskline-message-id", "0191"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Envelope {
        key: key.to_owned(),
        headers: Headers::from(headers),
        body: Bytes::from(n.to_string()),
    }
}

/// The number of a message.
pub fn number(envelope: &Envelope) -> u32 {
    let text = std::str::from_utf8(&envelope.body).expect("a number");
    text.parse().expect("a number")
}

pub async fn publish(broker: &dyn Broker, numbers: impl IntoIterator<Item = u32>) {
    let envelopes = numbers.into_iter().map(message).collect();
    broker
        .publish_all(envelopes)
        .await
        .expect("the broker takes all messages");
}

pub async fn consume(broker: &dyn Broker, prefetch: u16) -> Box<dyn Consumer> {
    let consumer = broker.consume(QUEUE, prefetch).await;
    consumer.expect("the queue can be consumed")
}

pub async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    within(consumer.next()).await.expect("the consumer is open")
}

/// The numbers of the next `count` deliveries, which are acknowledged.
pub async fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<u32> {
    let mut numbers = vec![];
    for _ in 0..count {
        let delivery = next(consumer).await;
        numbers.push(number(&delivery.envelope));
        delivery
            .settle
            .ack()
            .await
            .expect("nobody else has the delivery");
    }
    numbers
}

pub fn set(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
    numbers.into_iter().collect()
}
