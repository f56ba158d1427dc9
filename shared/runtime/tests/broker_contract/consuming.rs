//! Tests of consuming: deliveries, prefetch, and what comes again.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use futures::FutureExt;
use maskline_messages::Queue;
use maskline_test_support::environment::Environment;

use crate::{
    CHILD,
    messages::{consume, message, next, number, publish, set, take, to, within},
};

pub async fn an_acknowledged_message_is_forgotten(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1]).await;
    assert_eq!(take(&mut consume(&*broker, 1).await, 1).await, [1]);
    broker.close().await;
    let broker = environment.broker().await;
    publish(&*broker, [2]).await;
    assert_eq!(take(&mut consume(&*broker, 1).await, 1).await, [2]);
    broker.close().await;
}

pub async fn a_dropped_delivery_comes_again(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    drop(next(&mut consumer).await);
    let again = next(&mut consumer).await;
    assert_eq!(again.envelope, message(1));
    assert_eq!(again.attempts, 0);
    assert_eq!(again.redelivered, 1);
    broker.close().await;
}

pub async fn a_released_message_comes_again_as_it_was(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    let delivery = next(&mut consumer).await;
    delivery.settle.release().await.expect("it is ours");
    let again = next(&mut consumer).await;
    assert_eq!(again.envelope, message(1));
    assert_eq!(again.attempts, 0);
    again.settle.ack().await.expect("it is ours");
    broker.close().await;
}

pub async fn no_more_than_the_prefetch_is_in_hand(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, 1..=5).await;
    let mut bounded = consume(&*broker, 2).await;
    let held = [next(&mut bounded).await, next(&mut bounded).await];
    let waits = bounded.next().now_or_never();
    assert!(waits.is_none(), "a third came");
    // The rest is there for another consumer.
    let mut other = consume(&*broker, 10).await;
    assert_eq!(take(&mut other, 3).await, [3, 4, 5]);

    publish(&*broker, 6..=7).await;
    assert_eq!(take(&mut other, 2).await, [6, 7]);
    other.close().await;
    publish(&*broker, [8]).await;
    let [one, two] = held;
    one.settle.ack().await.expect("it is ours");
    let third = next(&mut bounded).await;
    assert_eq!(number(&third.envelope), 8);
    drop((two, third));
    broker.close().await;
}

pub async fn two_consumers_share_a_queue(environment: &Environment) {
    let (one, other) = (environment.broker().await, environment.broker().await);
    publish(&*one, 0..20).await;
    let mut first = consume(&*one, 1).await;
    let mut second = consume(&*other, 1).await;
    let held = next(&mut first).await;
    let mut seen = set(take(&mut second, 19).await);
    assert_eq!(seen.len(), 19, "each only once");
    assert!(seen.insert(number(&held.envelope)));
    held.settle.ack().await.expect("it is ours");
    assert_eq!(seen, set(0..20));
    one.close().await;
    other.close().await;
}

pub async fn a_waiting_consumer_is_notified(environment: &Environment) {
    let (here, there) = (environment.broker().await, environment.broker().await);
    let mut consumer = consume(&*here, 1).await;
    for n in 0..5 {
        let mut waiting = Box::pin(consumer.next());
        assert!(waiting.as_mut().now_or_never().is_none(), "it is empty");
        publish(&*there, [n]).await;
        let delivery = within(waiting).await.expect("not closed");
        assert_eq!(number(&delivery.envelope), n);
        delivery.settle.ack().await.expect("it is ours");
    }
    here.close().await;
    there.close().await;
}

pub async fn a_closed_consumer_gives_back_what_it_did_not_return(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, 1..=5).await;
    let mut closing = consume(&*broker, 10).await;
    let held = next(&mut closing).await;
    closing.close().await;
    assert!(within(closing.next()).await.is_none());

    let mut other = consume(&*broker, 1).await;
    assert_eq!(set(take(&mut other, 4).await), set(2..=5));
    assert_eq!(number(&held.envelope), 1);
    held.settle.ack().await.expect("it is still ours");
    publish(&*broker, [6]).await;
    assert_eq!(take(&mut other, 1).await, [6]);
    broker.close().await;
}

pub async fn a_dropped_consumer_gives_back_what_it_did_not_return(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, 1..=5).await;
    let mut dropped = consume(&*broker, 10).await;
    let held = next(&mut dropped).await;
    drop(dropped);
    let mut other = consume(&*broker, 1).await;
    assert_eq!(set(take(&mut other, 4).await), set(2..=5));
    held.settle.ack().await.expect("it is still ours");
    broker.close().await;
}

pub async fn a_closed_broker_gives_back_what_is_unsettled(environment: &Environment) {
    let (closing, other) = (environment.broker().await, environment.broker().await);
    publish(&*closing, 1..=3).await;
    let mut consumer = consume(&*closing, 10).await;
    let held = next(&mut consumer).await;
    closing.close().await;
    assert!(within(consumer.next()).await.is_none());
    let numbers = take(&mut consume(&*other, 1).await, 3).await;
    assert_eq!(set(numbers), set(1..=3));
    assert!(held.settle.ack().await.is_err());
    other.close().await;
}

pub async fn a_killed_process_loses_nothing(environment: &Environment) {
    const ALL: u32 = 60;
    if let Ok(url) = std::env::var(CHILD) {
        return pass_on_until_killed(&url).await;
    }
    let broker = environment.broker().await;
    publish(&*broker, 0..ALL).await;

    let module = match environment.broker_address().starts_with("embedded:") {
        true => "embedded",
        false => "rabbitmq",
    };
    let me = std::env::current_exe().expect("the test's own file");
    let mut child = Command::new(me)
        .args(["--exact", "--nocapture"])
        .arg(format!("{module}::a_killed_process_loses_nothing"))
        .env(CHILD, environment.broker_address())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let passed_on = lines
        .map(|line| line.expect("text"))
        .filter(|line| line.contains("passed on"));
    assert_eq!(passed_on.take(20).count(), 20, "it goes on until killed");
    child.kill().expect("it is killed");
    child.wait().expect("it ends");

    // This process passes on the messages that the child did not get to.
    let mut consumer = consume(&*broker, 10).await;
    let mut results = broker.consume(Queue::ValidatorImages, 10).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < ALL as usize {
        let delivery = tokio::select! {
            delivery = next(&mut consumer) => delivery,
            result = next(&mut results) => {
                seen.insert(number(&result.envelope));
                result.settle.ack().await.expect("it is ours");
                continue;
            }
        };
        let passed_on = to("image.fetched", number(&delivery.envelope));
        broker.publish(passed_on).await.expect("it is taken");
        delivery.settle.ack().await.expect("it is ours");
    }
    assert_eq!(seen, set(0..ALL));
    broker.close().await;
}

async fn pass_on_until_killed(url: &str) {
    let broker = maskline_runtime::broker::open(url).await.expect("it opens");
    let mut consumer = consume(&*broker, 10).await;
    loop {
        let delivery = next(&mut consumer).await;
        let n = number(&delivery.envelope);
        let passed_on = to("image.fetched", n);
        broker.publish(passed_on).await.expect("it is taken");
        delivery.settle.ack().await.expect("it is ours");
        let mut out = std::io::stdout().lock();
        writeln!(out, "passed on {n}").expect("somebody reads");
        out.flush().expect("somebody reads");
    }
}
