//! The exchange, the queues and their arguments, the same on RabbitMQ 3.10 and 4.

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use maskline_messages::{
    Queue,
    topology::{DEAD_LETTERS, EXCHANGE},
};

/// After so many deliveries that nobody settled, RabbitMQ itself moves a message to the
/// dead letters, because it may kill the processes that take it. Giving a message back
/// counts, too, so the limit is high enough for a queue ahead that is full for hours.
pub const DELIVERY_LIMIT: i64 = 100;

/// The delivery limit of the dead letters and of the delay queues, which is never reached. Listing
/// dead letters delivers them, and by default RabbitMQ 4 drops a message after 20 deliveries.
/// RabbitMQ 3.10 does not take a negative number for "no limit".
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// Makes what is missing. Fails if something is there with other arguments.
pub async fn declare(channel: &Channel, max_length: i64) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let none = FieldTable::default;
    channel
        .exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, none())
        .await?;
    declare_queue(channel, DEAD_LETTERS, dead_letters()).await?;
    for queue in Queue::ALL {
        let name = queue.name();
        declare_queue(channel, name, work(max_length)).await?;
        for &key in queue.keys() {
            let bind = QueueBindOptions::default();
            channel
                .queue_bind(name.into(), EXCHANGE.into(), key.into(), bind, none())
                .await?;
        }
    }
    Ok(())
}

pub async fn declare_queue(
    channel: &Channel,
    name: &str,
    arguments: FieldTable,
) -> lapin::Result<lapin::Queue> {
    let durable = QueueDeclareOptions::durable();
    channel.queue_declare(name.into(), durable, arguments).await
}

fn work(max_length: i64) -> FieldTable {
    let mut arguments = bounded(max_length);
    arguments.insert("x-delivery-limit".into(), DELIVERY_LIMIT.into());
    // RabbitMQ moves what was delivered too often to the dead letters, and keeps it until they
    // have confirmed it. It does so only if a full queue rejects publishes. The empty name is the
    // default exchange, whose routing key is the name of a queue.
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(DEAD_LETTERS));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments
}

fn dead_letters() -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), NO_DELIVERY_LIMIT.into());
    arguments
}

/// The arguments of a queue where messages wait until they are due.
pub fn delay(max_length: i64) -> FieldTable {
    let mut arguments = bounded(max_length);
    arguments.insert("x-delivery-limit".into(), NO_DELIVERY_LIMIT.into());
    arguments
}

/// The arguments of a queue that rejects publishes when it is full.
fn bounded(max_length: i64) -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-max-length".into(), max_length.into());
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
