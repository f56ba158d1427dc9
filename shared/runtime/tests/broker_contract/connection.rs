//! Tests that concern RabbitMQ alone: its connections, its limits, its dead-lettering.

use std::{collections::BTreeSet, time::Duration};

use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldArray, FieldTable},
};
use maskline_runtime::{
    BrokerError,
    broker::{self, Consumer, DeadLetterKind},
};
use maskline_test_support::{
    environment::{Environment, Server},
    proxy::Proxy,
};

use crate::messages::{QUEUE, becomes, consume, message, next, number, publish, set, take, within};

pub async fn publishing_and_consuming_survive_lost_connections(environment: &Environment) {
    const ALL: u32 = 400;
    let broker = environment.broker().await;
    let publisher = broker.clone();
    let publishing = tokio::spawn(async move {
        for n in 0..ALL {
            // It reconnects by itself. Only a broker that is away for long is an error.
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
        // If the connection was lost meanwhile, the delivery is stale and comes again.
        match delivery.settle.ack().await {
            Ok(()) | Err(BrokerError::Stale) => {}
            Err(other) => panic!("{other}"),
        }
        if losses.next_if(|&at| seen.len() >= at as usize).is_some() {
            environment.vhost().close_connections().await;
        }
    }
    publishing.await.expect("it does not panic");
    assert_eq!(seen, set(0..ALL));
    assert!(losses.next().is_none(), "connections were closed");
    broker.close().await;
}

pub async fn a_delivery_of_a_lost_connection_is_stale_and_comes_again(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1, 2]).await;
    let mut consumer = consume(&*broker, 2).await;
    let (one, two) = (next(&mut consumer).await, next(&mut consumer).await);
    environment.vhost().close_connections().await;
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

/// The host and the port of the environment's broker.
fn server(environment: &Environment) -> String {
    environment.host_and_port(Server::Broker)
}

/// The address of the environment's broker, with other hosts.
fn at(environment: &Environment, hosts: &str) -> String {
    let mut url = url::Url::parse(environment.broker_address()).expect("an address");
    url.set_host(Some("there")).expect("a host");
    url.set_port(None).expect("it has a host");
    url.as_str().replace("there", hosts)
}

/// An address where nobody listens.
fn nobody() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("it is bound").to_string()
}

pub async fn a_node_that_is_away_is_passed_over(environment: &Environment) {
    let hosts = format!("{},{}", nobody(), server(environment));
    // It begins with any of them.
    for n in 0..4 {
        let broker = broker::open(&at(environment, &hosts))
            .await
            .expect("one is there");
        broker.publish(message(n)).await.expect("it is taken");
        broker.close().await;
    }
    let (one, other) = (nobody(), nobody());
    match refusal(&at(environment, &format!("{one},{other}"))).await {
        error @ BrokerError::Unavailable { .. } => {
            let why = format!("{error:#}");
            assert!(why.contains(&one) && why.contains(&other), "{why}");
        }
        refused => panic!("{refused:?}"),
    }
}

/// Takes deliveries until message `n` is acknowledged. One that came before its connection
/// was given up is stale, and comes again.
async fn settle(consumer: &mut Box<dyn Consumer>, n: u32) {
    loop {
        let delivery = next(consumer).await;
        match delivery.settle.ack().await {
            Ok(()) if number(&delivery.envelope) == n => return,
            Ok(()) | Err(BrokerError::Stale) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub async fn a_node_that_falls_silent_is_left_for_another(environment: &Environment) {
    let ways = [
        Proxy::to(server(environment)).await,
        Proxy::to(server(environment)).await,
    ];
    let hosts = ways.each_ref().map(|way| way.address.to_string()).join(",");
    let broker = broker::open(&at(environment, &hosts))
        .await
        .expect("it opens");
    let mut consumer = consume(&*broker, 1).await;
    // The broker is connected through one of the two proxies.
    for (n, way) in (0..).zip(&ways) {
        way.set_paused(true);
        within(async { while broker.publish(message(n)).await.is_err() {} }).await;
        // RabbitMQ notices only now that the connection is gone, and may have delivered on it
        // in the meantime.
        way.set_paused(false);
        settle(&mut consumer, n).await;
    }
    broker.close().await;
}

pub async fn depths_can_be_asked_for_any_number_of_times(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [7]).await;
    // These are more questions about missing queues than a connection has channels.
    for _ in 0..30 {
        broker.depths().await.expect("it answers");
    }
    let ready = async || broker.depths().await.expect("it answers")[QUEUE.name()].ready;
    becomes(1, ready).await;
    broker.close().await;
}

pub async fn a_retry_waits_until_the_delay_queue_has_room(environment: &Environment) {
    let broker = environment.broker_with("?max_length=4").await;
    let mut consumer = consume(&*broker, 1).await;
    let hour = Duration::from_secs(3600);
    let waiting = loop {
        publish(&*broker, [1]).await;
        let delivery = next(&mut consumer).await;
        let mut retrying = delivery.settle.retry(hour, "not yet");
        match tokio::time::timeout(Duration::from_secs(5), &mut retrying).await {
            Ok(retried) => retried.expect("it is ours"),
            Err(_) => break retrying,
        }
    };
    let wait = async || broker.depths().await.expect("it answers")[QUEUE.name()].delayed >= 4;
    becomes(true, wait).await;
    let full = format!("{QUEUE}.delay.1024000.max.4");
    environment.vhost().purge_queue(&full).await;
    within(waiting).await.expect("there is room now");
    broker.close().await;
}

pub async fn a_retry_goes_past_a_delay_queue_that_takes_nothing(environment: &Environment) {
    let broker = environment.broker_with("?max_length=4").await;
    let mut consumer = consume(&*broker, 1).await;
    let minute = Duration::from_secs(60);
    // A queue of RabbitMQ may take a few more than its limit.
    for _ in 0..12 {
        publish(&*broker, [1]).await;
        let delivery = next(&mut consumer).await;
        let retried = within(delivery.settle.retry(minute, "not yet")).await;
        retried.expect("another queue takes it");
    }
    // Then nobody has any of them in hand.
    consumer.close().await;
    let delayed = async || broker.depths().await.expect("it answers")[QUEUE.name()].delayed;
    becomes(12, delayed).await;
    broker.close().await;
}

pub async fn a_delayed_message_waits_for_room_in_its_queue(environment: &Environment) {
    let broker = environment.broker_with("?max_length=4").await;
    publish(&*broker, [0]).await;
    let mut consumer = consume(&*broker, 1).await;
    let delivery = next(&mut consumer).await;
    let soon = Duration::from_millis(100);
    delivery.settle.retry(soon, "not yet").await.expect("ours");
    let mut rest = set([0]);
    for n in 1.. {
        match broker.publish(message(n)).await {
            Ok(()) => rest.insert(n),
            Err(BrokerError::Full(_)) => break,
            Err(error) => panic!("{error}"),
        };
    }
    let mut taken = vec![];
    while !rest.is_empty() {
        let delivery = next(&mut consumer).await;
        let n = number(&delivery.envelope);
        rest.remove(&n);
        taken.push((n, delivery.attempts));
        delivery.settle.ack().await.expect("it is ours");
    }
    assert!(taken.contains(&(0, 1)), "{taken:?}");
    broker.close().await;
}

pub async fn a_silent_broker_is_given_up_and_come_back_to(environment: &Environment) {
    let mut url = url::Url::parse(environment.broker_address()).expect("an address");
    let proxy = Proxy::to(server(environment)).await;
    url.set_host(Some("127.0.0.1")).expect("a host");
    url.set_port(Some(proxy.address.port())).expect("a port");
    let broker = broker::open(url.as_str()).await.expect("it opens");
    let mut consumer = consume(&*broker, 1).await;

    proxy.set_paused(true);
    let published = within(broker.publish(message(1))).await;
    assert!(matches!(published, Err(BrokerError::Unavailable { .. })));
    proxy.set_paused(false);
    within(async { while broker.publish(message(2)).await.is_err() {} }).await;
    // The first may have come through after all.
    settle(&mut consumer, 2).await;
    broker.close().await;
}

pub async fn a_deleted_queue_is_an_error_once_and_made_again(environment: &Environment) {
    let broker = environment.broker().await;
    environment.vhost().delete_queue(QUEUE.name()).await;
    let published = broker.publish(message(1)).await;
    assert!(matches!(published, Err(BrokerError::Unroutable(_))));
    broker.publish(message(2)).await.expect("it is there again");
    let mut consumer = consume(&*broker, 1).await;
    assert_eq!(take(&mut consumer, 1).await, [2]);

    // A consumer of a queue that is deleted goes on with the new one.
    environment.vhost().delete_queue(QUEUE.name()).await;
    within(async { while broker.publish(message(3)).await.is_err() {} }).await;
    assert_eq!(take(&mut consumer, 1).await, [3]);
    broker.close().await;
}

pub async fn a_message_that_nobody_settles_ends_in_the_dead_letters(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    let dead_letter = within(async {
        loop {
            tokio::select! {
                delivery = next(&mut consumer) => {
                    delivery.settle.release().await.expect("it is ours");
                }
                () = tokio::time::sleep(Duration::from_millis(500)) => {
                    // It comes no more: RabbitMQ has moved it, or soon will have.
                    let dead_letters = broker.dead_letters(10).await.expect("it answers");
                    if let Some(dead_letter) = dead_letters.into_iter().next() {
                        return dead_letter;
                    }
                }
            }
        }
    })
    .await;
    assert_eq!(dead_letter.queue, QUEUE.name());
    assert_eq!(dead_letter.envelope, message(1));
    assert_eq!(dead_letter.kind, DeadLetterKind::Poison);
    assert!(
        dead_letter.error.contains("never settled"),
        "{}",
        dead_letter.error
    );
    assert!(dead_letter.at > 0);

    let replayed = broker.replay(Some(&[dead_letter.id])).await;
    assert_eq!(replayed.expect("it answers"), 1);
    assert_eq!(take(&mut consumer, 1).await, [1]);
    broker.close().await;
}

pub async fn headers_of_other_types_are_kept(environment: &Environment) {
    let broker = environment.broker().await;
    let mut headers = FieldTable::default();
    headers.insert("number".into(), AMQPValue::LongInt(7));
    headers.insert("list".into(), AMQPValue::FieldArray(FieldArray::default()));
    let properties = BasicProperties::default().with_headers(headers);
    let connection = Connection::connect(
        environment.broker_address(),
        ConnectionProperties::default(),
    );
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

pub async fn a_wrong_address_is_explained_without_its_password(environment: &Environment) {
    let right = url::Url::parse(environment.broker_address()).expect("an address");
    let with = |change: fn(&mut url::Url)| {
        let mut url = right.clone();
        change(&mut url);
        String::from(url)
    };
    let password = with(|url| url.set_password(Some("hunter2")).expect("it has a host"));
    let vhost = with(|url| url.set_path("no-such-vhost"));
    for (url, about) in [(password, "password"), (vhost, "virtual host")] {
        match refusal(&url).await {
            error @ BrokerError::Misconfigured { .. } => {
                let why = format!("{error:#}");
                assert!(why.contains(about), "{why}");
                assert!(!why.contains("hunter2"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
    let nobody = nobody();
    match refusal(&format!("amqp://me:hunter2@{nobody}")).await {
        error @ BrokerError::Unavailable { .. } => {
            let why = format!("{error:#}");
            assert!(why.contains(&nobody), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

pub async fn queues_with_other_arguments_are_a_misconfiguration(environment: &Environment) {
    environment.broker().await.close().await;
    match refusal(&format!("{}?max_length=5", environment.broker_address())).await {
        error @ BrokerError::Misconfigured { .. } => {
            let why = format!("{error:#}");
            assert!(why.contains("max_length"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}
