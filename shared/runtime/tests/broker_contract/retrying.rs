//! Tests of retries: messages that come again after a wait.

use std::time::Duration;

use maskline_messages::Queue;
use maskline_test_support::environment::Environment;

use crate::messages::{consume, message, next, number, publish, take, to};

pub async fn a_retried_message_comes_later_with_one_more_attempt(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    let delivery = next(&mut consumer).await;
    let wait = Duration::from_secs(1);
    let retried = delivery.settle.retry(wait, "not yet").await;
    retried.expect("it is ours");
    publish(&*broker, [2]).await;
    assert_eq!(take(&mut consumer, 1).await, [2], "not before its time");

    let again = next(&mut consumer).await;
    assert_eq!(again.envelope, message(1));
    assert_eq!(again.attempts, 1);
    again.settle.ack().await.expect("it is ours");
    broker.close().await;
}

pub async fn attempts_add_up(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    for attempts in 0..4 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.attempts, attempts);
        assert_eq!(delivery.envelope, message(1));
        let wait = Duration::from_millis(10 * u64::from(attempts));
        let retried = delivery.settle.retry(wait, "not yet").await;
        retried.expect("it is ours");
    }
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.attempts, 4);
    // A message that is given back was not tried.
    delivery.settle.release().await.expect("it is ours");
    assert_eq!(next(&mut consumer).await.attempts, 4);
    broker.close().await;
}

pub async fn a_postponed_message_comes_later_with_the_same_attempts(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    let soon = Duration::from_millis(20);
    let delivery = next(&mut consumer).await;
    assert!(!delivery.came_before);
    let retried = delivery.settle.retry(soon, "not yet").await;
    retried.expect("it is ours");
    let delivery = next(&mut consumer).await;
    let wait = Duration::from_secs(1);
    let postponed = delivery.settle.postpone(wait, "not its turn").await;
    postponed.expect("it is ours");
    publish(&*broker, [2]).await;
    assert_eq!(take(&mut consumer, 1).await, [2], "not before its time");

    let again = next(&mut consumer).await;
    assert_eq!(again.envelope, message(1));
    assert_eq!((again.attempts, again.redelivered), (1, 0));
    assert!(again.came_before);
    again.settle.ack().await.expect("it is ours");
    broker.close().await;
}

pub async fn a_short_wait_is_not_held_up_by_a_long_one(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1, 2]).await;
    let mut consumer = consume(&*broker, 2).await;
    for wait in [Duration::from_secs(3600), Duration::from_millis(20)] {
        let delivery = next(&mut consumer).await;
        let retried = delivery.settle.retry(wait, "not yet").await;
        retried.expect("it is ours");
    }
    let again = next(&mut consumer).await;
    assert_eq!(number(&again.envelope), 2);
    broker.close().await;
}

pub async fn a_retry_outlives_the_connection(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1]).await;
    let delivery = next(&mut consume(&*broker, 1).await).await;
    let wait = Duration::from_millis(200);
    let retried = delivery.settle.retry(wait, "not yet").await;
    retried.expect("it is ours");
    broker.close().await;
    let broker = environment.broker().await;
    let again = next(&mut consume(&*broker, 1).await).await;
    assert_eq!((again.envelope, again.attempts), (message(1), 1));
    broker.close().await;
}

pub async fn a_retry_keeps_the_key(environment: &Environment) {
    let broker = environment.broker().await;
    let queue = Queue::StorerImages;
    let mut consumer = broker.consume(queue, 1).await.expect("it is there");
    for &key in queue.keys() {
        broker.publish(to(key, 1)).await.expect("it is taken");
        let delivery = next(&mut consumer).await;
        let wait = Duration::from_millis(1);
        let retried = delivery.settle.retry(wait, "not yet").await;
        retried.expect("it is ours");
        let again = next(&mut consumer).await;
        assert_eq!(again.envelope, to(key, 1));
        again.settle.ack().await.expect("it is ours");
    }
    broker.close().await;
}
