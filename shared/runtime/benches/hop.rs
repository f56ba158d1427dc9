//! A message's hop through the `Broker` trait, compared with raw lapin. Both publish and
//! consume the same messages of 1 KiB through the same exchange and quorum queue, in turns.
//!
//!     tests/bench hop

#[allow(dead_code, reason = "the contract tests' own, which need more of it")]
#[path = "../tests/broker_contract/messages.rs"]
mod messages;

use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, stream, stream::FuturesOrdered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use maskline_messages::topology::EXCHANGE;
use maskline_runtime::{Broker, Envelope};
use maskline_test_support::environment::Environment;
use messages::{QUEUE, message};

const ROUNDS: usize = 5;
const MESSAGES: usize = 10_000;
/// Messages on their way, and messages in hand, at a time.
const WINDOW: usize = 256;
/// Messages acknowledged at a time.
const ACKS: usize = 16;
const BODY: [u8; 1024] = [b'x'; 1024];

#[tokio::main]
async fn main() {
    let environment = Environment::embedded().on_rabbitmq().await;
    environment.run_test(compare).await;
}

async fn compare(environment: &Environment) {
    let broker = environment.broker().await;
    let connection = Connection::connect(
        environment.broker_address(),
        ConnectionProperties::default(),
    )
    .await;
    let connection = connection.expect("RabbitMQ answers");
    let raw = connection.create_channel().await.expect("a channel");
    let confirm = raw.confirm_select(ConfirmSelectOptions::default());
    confirm.await.expect("it confirms");

    let envelope = Envelope {
        body: Bytes::from_static(&BODY),
        ..message(0)
    };
    let envelopes = vec![envelope; MESSAGES];
    let mut seconds: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let (theirs, ours) = (envelopes.clone(), envelopes.clone());
        let start = Instant::now();
        raw_in(&raw, theirs).await;
        seconds[0].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        raw_out(&connection).await;
        seconds[1].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        ours_in(&*broker, ours).await;
        seconds[2].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        ours_out(&*broker).await;
        seconds[3].push(start.elapsed().as_secs_f64());
    }
    let [raw_in, raw_out, ours_in, ours_out] = seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        MESSAGES as f64 / seconds[ROUNDS / 2]
    });
    println!("messages/s, median of {ROUNDS} rounds of {MESSAGES}, 1 KiB, quorum queues");
    println!("            raw lapin   Broker    ratio");
    for (way, raw, ours) in [
        ("published", raw_in, ours_in),
        ("consumed", raw_out, ours_out),
    ] {
        println!("{way:<10} {raw:>10.0} {ours:>8.0} {:>8.2}", ours / raw);
    }
    broker.close().await;
    connection.close(200, "OK".into()).await.expect("it closes");
}

async fn raw_in(channel: &Channel, envelopes: Vec<Envelope>) {
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let publish = async |envelope: Envelope| {
        let mut headers = FieldTable::default();
        for (name, value) in envelope.headers {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_headers(headers);
        let (exchange, key) = (EXCHANGE.into(), envelope.key.into());
        let sent = channel.basic_publish(exchange, key, mandatory, &envelope.body, properties);
        let confirmed = sent.await.expect("it is sent").await;
        assert_eq!(
            confirmed.expect("RabbitMQ answers"),
            Confirmation::Ack(None)
        );
    };
    let mut on_the_way = FuturesOrdered::new();
    for envelope in envelopes {
        if on_the_way.len() == WINDOW {
            on_the_way.next().await;
        }
        on_the_way.push_back(publish(envelope));
    }
    on_the_way.collect::<()>().await;
}

async fn raw_out(connection: &Connection) {
    let channel = connection.create_channel().await.expect("a channel");
    let qos = channel.basic_qos(WINDOW as u16, BasicQosOptions::default());
    qos.await.expect("it takes a prefetch");
    let consumer = channel.basic_consume(
        QUEUE.name().into(),
        "".into(),
        Default::default(),
        Default::default(),
    );
    let consumer = consumer.await.expect("it consumes");
    consumer
        .take(MESSAGES)
        .for_each_concurrent(ACKS, async |delivery| {
            let delivery = delivery.expect("RabbitMQ delivers");
            let acked = delivery.ack(BasicAckOptions::default()).await;
            assert!(acked.expect("RabbitMQ listens"));
        })
        .await;
    channel.close(200, "OK".into()).await.expect("it closes");
}

async fn ours_in(broker: &dyn Broker, envelopes: Vec<Envelope>) {
    let published = broker.publish_all(envelopes).await;
    published.expect("RabbitMQ takes them");
}

async fn ours_out(broker: &dyn Broker) {
    let mut consumer = messages::consume(broker, WINDOW as u16).await;
    let deliveries = stream::unfold(&mut consumer, async |consumer| {
        Some((consumer.next().await?, consumer))
    });
    deliveries
        .take(MESSAGES)
        .for_each_concurrent(ACKS, async |delivery| {
            delivery.settle.ack().await.expect("it is ours");
        })
        .await;
    consumer.close().await;
}
