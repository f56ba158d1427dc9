//! A message's hop through the `Broker` trait beside raw lapin: quorum queues on
//! the same RabbitMQ, 1 KiB, in and out, one after the other in rounds.
//!
//!     MASKLINE_TEST_RABBITMQ=… MASKLINE_TEST_RABBITMQ_HTTP=… cargo bench -p maskline-runtime --bench hop

#[allow(dead_code, reason = "the contract tests' own, which need more of it")]
#[path = "../tests/broker_contract/place.rs"]
mod place;

use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, stream, stream::FuturesOrdered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use maskline_runtime::{Broker, Envelope};
use place::{Place, message};

const ROUNDS: usize = 5;
const MESSAGES: usize = 10_000;
/// Messages on their way, and messages in hand, at a time.
const WINDOW: usize = 256;
/// Messages acknowledged at a time.
const ACKS: usize = 16;
const BODY: [u8; 1024] = [b'x'; 1024];

const RAW: &str = "raw";

#[tokio::main]
async fn main() {
    place::run(Place::rabbitmq().await, compare).await;
}

async fn compare(place: &Place) {
    let broker = place.open().await;
    let connection = Connection::connect(&place.url, ConnectionProperties::default()).await;
    let connection = connection.expect("RabbitMQ answers");
    let raw = connection.create_channel().await.expect("a channel");
    prepare(&raw).await;

    let mut seconds: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        raw_in(&raw).await;
        seconds[0].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        raw_out(&connection).await;
        seconds[1].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        ours_in(&*broker).await;
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

async fn prepare(raw: &Channel) {
    let mut quorum = FieldTable::default();
    quorum.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let declared = raw.queue_declare(RAW.into(), QueueDeclareOptions::durable(), quorum);
    declared.await.expect("it is made");
    let confirm = raw.confirm_select(ConfirmSelectOptions::default());
    confirm.await.expect("it confirms");
}

async fn raw_in(channel: &Channel) {
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let publish = || async {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let confirm = channel.basic_publish("".into(), RAW.into(), mandatory, &BODY, properties);
        let confirmed = confirm.await.expect("it is sent").await;
        assert_eq!(
            confirmed.expect("RabbitMQ answers"),
            Confirmation::Ack(None)
        );
    };
    let mut on_the_way = FuturesOrdered::new();
    for _ in 0..MESSAGES {
        if on_the_way.len() == WINDOW {
            on_the_way.next().await;
        }
        on_the_way.push_back(publish());
    }
    on_the_way.collect::<()>().await;
}

async fn raw_out(connection: &Connection) {
    let channel = connection.create_channel().await.expect("a channel");
    let qos = channel.basic_qos(WINDOW as u16, BasicQosOptions::default());
    qos.await.expect("it takes a prefetch");
    let consumer = channel.basic_consume(
        RAW.into(),
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

async fn ours_in(broker: &dyn Broker) {
    let envelope = Envelope {
        body: Bytes::from_static(&BODY),
        ..message(0)
    };
    let published = broker.publish_all(vec![envelope; MESSAGES]).await;
    published.expect("RabbitMQ takes them");
}

async fn ours_out(broker: &dyn Broker) {
    let mut consumer = place::consume(broker, WINDOW as u16).await;
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
