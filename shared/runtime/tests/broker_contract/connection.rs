//! RabbitMQ's connections, and what it does by itself.

use std::{collections::BTreeSet, time::Duration};

use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldArray, FieldTable},
};
use maskline_runtime::{
    BrokerError,
    broker::{self, WhyKind},
};

use crate::{
    place::{Place, QUEUE, consume, message, next, number, publish, set, take, within},
    proxy::Proxy,
};

pub async fn publishing_and_consuming_survive_lost_connections(place: &Place) {
    const ALL: u32 = 400;
    let broker = place.open().await;
    let publisher = broker.clone();
    let publishing = tokio::spawn(async move {
        for n in 0..ALL {
            // It goes on by itself; only a broker away for long is an error.
            let published = publisher.publish(message(n)).await;
            published.expect("it is taken");
        }
    });
    let mut consumer = consume(&*broker, 10).await;
    let mut seen = BTreeSet::new();
    let mut losses = [ALL / 4, ALL / 2].into_iter().peekable();
    while seen.len() < ALL as usize {
        let delivery = next(&mut consumer).await;
        seen.insert(number(&delivery.envelope));
        // Stale where the connection went meanwhile: it comes again.
        match delivery.settle.ack().await {
            Ok(()) | Err(BrokerError::Stale) => {}
            Err(other) => panic!("{other}"),
        }
        if losses.next_if(|&at| seen.len() >= at as usize).is_some() {
            place.management().close_connections().await;
        }
    }
    publishing.await.expect("it does not panic");
    assert_eq!(seen, set(0..ALL));
    assert!(losses.next().is_none(), "connections were closed");
    broker.close().await;
}

pub async fn a_delivery_of_a_lost_connection_is_stale_and_comes_again(place: &Place) {
    let broker = place.open().await;
    publish(&*broker, [1, 2]).await;
    let mut consumer = consume(&*broker, 2).await;
    let (one, two) = (next(&mut consumer).await, next(&mut consumer).await);
    place.management().close_connections().await;
    let again = [next(&mut consumer).await, next(&mut consumer).await];
    assert!(again.iter().all(|delivery| delivery.redelivered > 0));

    assert!(matches!(one.settle.ack().await, Err(BrokerError::Stale)));
    let retried = two.settle.retry(Duration::ZERO, "not yet").await;
    assert!(matches!(retried, Err(BrokerError::Stale)));
    for delivery in again {
        delivery.settle.ack().await.expect("it is ours");
    }
    publish(&*broker, [3]).await;
    assert_eq!(take(&mut consumer, 1).await, [3], "nothing is there twice");
    broker.close().await;
}

pub async fn a_silent_broker_is_given_up_and_come_back_to(place: &Place) {
    let mut url = url::Url::parse(&place.url).expect("an address");
    let host = url.host_str().expect("it names a host");
    let server = format!("{host}:{}", url.port().unwrap_or(5672));
    let proxy = Proxy::to(server).await;
    url.set_host(Some("127.0.0.1")).expect("a host");
    url.set_port(Some(proxy.address.port())).expect("a port");
    let broker = broker::open(url.as_str()).await.expect("it opens");
    let mut consumer = consume(&*broker, 1).await;

    proxy.set_silent(true);
    let published = within(broker.publish(message(1))).await;
    assert!(matches!(published, Err(BrokerError::Unavailable(_))));
    proxy.set_silent(false);
    within(async { while broker.publish(message(2)).await.is_err() {} }).await;
    // The first may have come through after all.
    while take(&mut consumer, 1).await != [2] {}
    broker.close().await;
}

pub async fn a_deleted_queue_is_an_error_once_and_made_again(place: &Place) {
    let broker = place.open().await;
    place.management().delete_queue(QUEUE.name()).await;
    let published = broker.publish(message(1)).await;
    assert!(matches!(published, Err(BrokerError::Unroutable(_))));
    broker.publish(message(2)).await.expect("it is there again");
    let mut consumer = consume(&*broker, 1).await;
    assert_eq!(take(&mut consumer, 1).await, [2]);

    // A consumer of a queue that is deleted goes on with the new one.
    place.management().delete_queue(QUEUE.name()).await;
    within(async { while broker.publish(message(3)).await.is_err() {} }).await;
    assert_eq!(take(&mut consumer, 1).await, [3]);
    broker.close().await;
}

pub async fn a_message_that_nobody_settles_ends_in_the_dead_letters(place: &Place) {
    let broker = place.open().await;
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    let letter = within(async {
        loop {
            tokio::select! {
                delivery = next(&mut consumer) => {
                    delivery.settle.release().await.expect("it is ours");
                }
                () = tokio::time::sleep(Duration::from_millis(500)) => {
                    // It comes no more: RabbitMQ has moved it, or soon will have.
                    let letters = broker.dead_letters(10).await.expect("it answers");
                    if let Some(letter) = letters.into_iter().next() {
                        return letter;
                    }
                }
            }
        }
    })
    .await;
    assert_eq!(letter.queue, QUEUE.name());
    assert_eq!(letter.envelope, message(1));
    assert_eq!(letter.kind, WhyKind::Poison);
    assert!(letter.error.contains("never settled"), "{}", letter.error);
    assert!(letter.at > 0);

    let replayed = broker.replay(Some(&[letter.id])).await;
    assert_eq!(replayed.expect("it answers"), 1);
    assert_eq!(take(&mut consumer, 1).await, [1]);
    broker.close().await;
}

pub async fn headers_of_other_types_are_kept(place: &Place) {
    let broker = place.open().await;
    let mut headers = FieldTable::default();
    headers.insert("number".into(), AMQPValue::LongInt(7));
    headers.insert("list".into(), AMQPValue::FieldArray(FieldArray::default()));
    let properties = BasicProperties::default().with_headers(headers);
    let connection = Connection::connect(&place.url, ConnectionProperties::default());
    let connection = connection.await.expect("the test's own address");
    let channel = connection.create_channel().await.expect("a channel");
    let options = BasicPublishOptions::default();
    let (queue, body) = (QUEUE.name().into(), b"1");
    let published = channel.basic_publish("".into(), queue, options, body, properties);
    published.await.expect("it is sent");

    let mut consumer = consume(&*broker, 1).await;
    for attempts in 0..2 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.attempts, attempts);
        assert_eq!(delivery.envelope.headers.len(), 1, "a list is no text");
        assert_eq!(delivery.envelope.headers["number"], "7");
        let retried = delivery.settle.retry(Duration::ZERO, "not yet").await;
        retried.expect("it is ours");
    }
    broker.close().await;
}

async fn refusal(url: &str) -> BrokerError {
    match broker::open(url).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

pub async fn what_is_wrong_with_the_address_is_said_without_the_password(place: &Place) {
    let right = url::Url::parse(&place.url).expect("an address");
    let with = |change: fn(&mut url::Url)| {
        let mut url = right.clone();
        change(&mut url);
        String::from(url)
    };
    let password = with(|url| url.set_password(Some("hunter2")).expect("it has a host"));
    let vhost = with(|url| url.set_path("no-such-place"));
    for (url, about) in [(password, "password"), (vhost, "virtual host")] {
        match refusal(&url).await {
            BrokerError::Misconfigured(why) => {
                assert!(why.contains(about), "{why}");
                assert!(!why.contains("hunter2"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let nobody = format!("amqp://me:hunter2@127.0.0.1:{port}");
    match refusal(&nobody).await {
        BrokerError::Unavailable(why) => {
            assert!(why.contains(&port.to_string()), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

pub async fn queues_made_otherwise_are_said_to_be(place: &Place) {
    place.open().await.close().await;
    match refusal(&format!("{}?max_length=5", place.url)).await {
        BrokerError::Misconfigured(why) => assert!(why.contains("max_length"), "{why}"),
        other => panic!("{other:?}"),
    }
}
