//! Tests of publishing, and of the counts of queues.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use maskline_messages::{Queue, topology::DEAD_LETTERS};
use maskline_runtime::{
    BrokerError, Envelope,
    broker::{Depth, MAX_BODY},
};
use maskline_test_support::environment::Environment;

use crate::messages::{
    KEY, QUEUE, becomes, consume, message, next, number, publish, set, take, to, within,
};

pub async fn a_message_comes_as_it_was_sent(environment: &Environment) {
    let broker = environment.broker().await;
    broker.publish(message(1)).await.expect("it is taken");
    let delivery = next(&mut consume(&*broker, 1).await).await;
    assert_eq!(delivery.envelope, message(1));
    assert_eq!(delivery.queue, QUEUE);
    assert_eq!(delivery.attempts, 0);
    assert_eq!(delivery.redelivered, 0);
    broker.close().await;
}

pub async fn a_published_message_outlives_the_connection(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, 1..=3).await;
    broker.close().await;
    let broker = environment.broker().await;
    assert_eq!(take(&mut consume(&*broker, 1).await, 3).await, [1, 2, 3]);
    broker.close().await;
}

pub async fn a_message_goes_to_the_queue_of_its_key(environment: &Environment) {
    let broker = environment.broker().await;
    for queue in Queue::ALL {
        for (n, key) in (0..).zip(queue.keys()) {
            broker.publish(to(key, n)).await.expect("it is taken");
        }
    }
    for queue in Queue::ALL {
        let mut consumer = broker.consume(queue, 1).await.expect("it is there");
        for (n, &key) in (0..).zip(queue.keys()) {
            let delivery = next(&mut consumer).await;
            assert_eq!(delivery.envelope, to(key, n), "{queue}");
            delivery.settle.ack().await.expect("it is ours");
        }
    }
    broker.close().await;
}

pub async fn a_key_without_a_queue_is_an_error(environment: &Environment) {
    let broker = environment.broker().await;
    let long = "k".repeat(300);
    for key in ["nobody.listens", &long] {
        match broker.publish(to(key, 1)).await {
            Err(BrokerError::Unroutable(unroutable)) => assert_eq!(unroutable, key),
            other => panic!("{other:?}"),
        }
    }
    // One among many is noticed, too, and what was published before stays sound.
    let many = vec![message(1), to("nobody.listens", 2), message(3)];
    let published = broker.publish_all(many).await;
    assert!(matches!(published, Err(BrokerError::Unroutable(_))));
    broker.publish(message(4)).await.expect("it is taken");
    broker.close().await;
}

pub async fn messages_come_in_the_order_they_were_published(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, 0..700).await;
    for n in 700..710 {
        broker.publish(message(n)).await.expect("it is taken");
    }
    let numbers = take(&mut consume(&*broker, 20).await, 710).await;
    assert_eq!(numbers, Vec::from_iter(0..710));
    broker.close().await;
}

pub async fn a_body_that_is_too_large_is_refused(environment: &Environment) {
    let broker = environment.broker().await;
    let sized = |bytes| Envelope {
        body: Bytes::from(vec![b'x'; bytes]),
        ..message(1)
    };
    match broker.publish(sized(MAX_BODY + 1)).await {
        Err(BrokerError::TooLarge { bytes, most }) => {
            assert_eq!((bytes, most), (MAX_BODY + 1, MAX_BODY));
        }
        other => panic!("{other:?}"),
    }
    broker.publish(sized(MAX_BODY)).await.expect("it fits");
    let delivery = next(&mut consume(&*broker, 1).await).await;
    assert_eq!(delivery.envelope, sized(MAX_BODY));
    broker.close().await;
}

pub async fn a_full_queue_refuses_and_drops_nothing(environment: &Environment) {
    let broker = environment.broker_with("?max_length=8").await;
    let mut taken = vec![];
    let refused = loop {
        let n = u32::try_from(taken.len()).expect("few");
        assert!(n < 1000, "it is never full");
        match broker.publish(message(n)).await {
            Ok(()) => taken.push(n),
            Err(error) => break error,
        }
    };
    match refused {
        BrokerError::Full(queue) => assert_eq!(queue, QUEUE.name()),
        other => panic!("{other:?}"),
    }
    let mut consumer = consume(&*broker, 1).await;
    assert_eq!(take(&mut consumer, taken.len()).await, taken);

    // There is room again. A broker may need a moment to notice.
    within(async {
        while let Err(error) = broker.publish(message(7)).await {
            assert!(matches!(error, BrokerError::Full(_)), "{error}");
        }
    })
    .await;
    assert_eq!(take(&mut consumer, 1).await, [7]);
    broker.close().await;
}

pub async fn it_answers_a_ping(environment: &Environment) {
    let broker = environment.broker().await;
    broker.ping().await.expect("it is there");
    broker.close().await;
    assert!(broker.ping().await.is_err(), "it is closed");
}

pub async fn depths_count_the_messages_that_wait(environment: &Environment) {
    let broker = environment.broker().await;
    let names: Vec<String> = broker
        .depths()
        .await
        .expect("it answers")
        .into_keys()
        .collect();
    let mut all = Queue::ALL.map(|queue| queue.name().to_owned());
    all.sort_unstable();
    assert_eq!(names, all);

    publish(&*broker, 0..4).await;
    let other = Queue::of_key("image.fetched").expect("a queue");
    broker
        .publish(to("image.fetched", 9))
        .await
        .expect("it is taken");
    let mut consumer = consume(&*broker, 1).await;
    let delivery = next(&mut consumer).await;
    let hour = Duration::from_secs(3600);
    let retried = delivery.settle.retry(hour, "not yet").await;
    retried.expect("it is ours");
    consumer.close().await;

    let rest = set(0..4);
    let depth = |ready, delayed| Depth {
        ready,
        unsettled: 0,
        delayed,
    };
    let mut depths: BTreeMap<_, _> = all.map(|name| (name, Depth::default())).into();
    depths.insert(QUEUE.name().to_owned(), depth(3, 1));
    depths.insert(other.name().to_owned(), depth(1, 0));
    let mut ready: BTreeMap<_, _> = depths.iter().map(|(q, d)| (q.clone(), d.ready)).collect();
    ready.insert(DEAD_LETTERS.to_owned(), 0);
    becomes(depths, async || broker.depths().await.expect("it answers")).await;
    becomes(ready, async || broker.lengths().await.expect("it answers")).await;
    let mut consumer = consume(&*broker, 1).await;
    let first = next(&mut consumer).await;
    assert!(rest.contains(&number(&first.envelope)));
    assert_eq!(first.envelope.key, KEY);
    broker.close().await;
}
