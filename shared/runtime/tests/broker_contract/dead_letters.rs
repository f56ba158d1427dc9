//! Tests of dead letters: listing, replaying and dropping them.

use std::time::Duration;

use maskline_foundation::time::unix_millis;
use maskline_messages::topology::DEAD_LETTERS;
use maskline_runtime::{
    Broker, DeadLetter, DeadLetterId,
    broker::{DeadLetterKind, DeadLetterReason},
};
use maskline_test_support::environment::Environment;

use crate::messages::{QUEUE, becomes, consume, message, next, number, publish, take};

fn reason(kind: DeadLetterKind) -> DeadLetterReason {
    DeadLetterReason {
        kind,
        stage: "validator".to_owned(),
        error: "it can't be read: é".to_owned(),
    }
}

/// Publishes these and dead-letters them, one after the other.
async fn dead_letter(broker: &dyn Broker, numbers: impl IntoIterator<Item = u32> + Clone) {
    publish(broker, numbers.clone()).await;
    let mut consumer = consume(broker, 1).await;
    for _ in numbers {
        let delivery = next(&mut consumer).await;
        let dead_lettered = delivery
            .settle
            .dead_letter(&reason(DeadLetterKind::Poison))
            .await;
        dead_lettered.expect("it is ours");
    }
    consumer.close().await;
}

async fn list(broker: &dyn Broker) -> Vec<DeadLetter> {
    broker.dead_letters(1000).await.expect("it answers")
}

fn numbers(dead_letters: &[DeadLetter]) -> Vec<u32> {
    let envelopes = dead_letters.iter().map(|dead_letter| &dead_letter.envelope);
    envelopes.map(number).collect()
}

fn ids(dead_letters: &[DeadLetter]) -> Vec<DeadLetterId> {
    dead_letters
        .iter()
        .map(|dead_letter| dead_letter.id.clone())
        .collect()
}

pub async fn a_dead_letter_has_its_queue_its_reason_and_its_attempts(environment: &Environment) {
    let broker = environment.broker().await;
    let before = unix_millis();
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    let retried = next(&mut consumer).await.settle;
    let retried = retried.retry(Duration::from_millis(1), "not yet").await;
    retried.expect("it is ours");
    let delivery = next(&mut consumer).await;
    let reason = reason(DeadLetterKind::RetriesExhausted);
    let dead_lettered = delivery.settle.dead_letter(&reason).await;
    dead_lettered.expect("it is ours");
    broker.close().await;

    let broker = environment.broker().await;
    let listed = list(&*broker).await;
    let [dead_letter] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!(dead_letter.queue, QUEUE.name());
    assert_eq!(dead_letter.envelope, message(1));
    assert_eq!(dead_letter.kind, reason.kind);
    assert_eq!(dead_letter.stage, reason.stage);
    assert_eq!(dead_letter.error, reason.error);
    assert_eq!(dead_letter.attempts, 2);
    assert!((before..=unix_millis()).contains(&dead_letter.at));
    assert!(!dead_letter.id.0.is_empty());
    broker.close().await;
}

pub async fn dead_letters_are_listed_oldest_first_and_left_there(environment: &Environment) {
    let broker = environment.broker().await;
    assert!(list(&*broker).await.is_empty());
    dead_letter(&*broker, 0..5).await;
    let listed = list(&*broker).await;
    assert_eq!(numbers(&listed), [0, 1, 2, 3, 4]);
    becomes(5, async || {
        let lengths = broker.lengths().await.expect("it answers");
        lengths[DEAD_LETTERS]
    })
    .await;
    let first = broker.dead_letters(2).await.expect("it answers");
    assert_eq!(numbers(&first), [0, 1]);
    let again = list(&*broker).await;
    assert_eq!(ids(&again), ids(&listed));
    broker.close().await;
}

pub async fn a_replayed_message_begins_anew(environment: &Environment) {
    let broker = environment.broker().await;
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    let retried = next(&mut consumer).await.settle;
    let retried = retried.retry(Duration::from_millis(1), "not yet").await;
    retried.expect("it is ours");
    let taken = next(&mut consumer).await.settle;
    let dead_lettered = taken.dead_letter(&reason(DeadLetterKind::Poison)).await;
    dead_lettered.expect("it is ours");
    consumer.close().await;
    dead_letter(&*broker, [2]).await;

    let listed = list(&*broker).await;
    let replayed = broker.replay(Some(&ids(&listed)[..1])).await;
    assert_eq!(replayed.expect("it answers"), 1);
    let again = next(&mut consume(&*broker, 1).await).await;
    assert_eq!(again.envelope, message(1));
    assert_eq!(again.attempts, 0);
    again.settle.ack().await.expect("it is ours");
    assert_eq!(ids(&list(&*broker).await), ids(&listed)[1..]);
    broker.close().await;
}

pub async fn all_dead_letters_are_replayed_at_once(environment: &Environment) {
    let broker = environment.broker().await;
    dead_letter(&*broker, 0..100).await;
    assert_eq!(broker.replay(None).await.expect("it answers"), 100);
    assert!(list(&*broker).await.is_empty());
    let mut again = take(&mut consume(&*broker, 20).await, 100).await;
    again.sort_unstable();
    assert_eq!(again, Vec::from_iter(0..100));
    assert_eq!(broker.replay(None).await.expect("it answers"), 0);
    broker.close().await;
}

pub async fn dropped_dead_letters_are_gone(environment: &Environment) {
    let broker = environment.broker().await;
    dead_letter(&*broker, 0..4).await;
    let listed = list(&*broker).await;
    let chosen = [listed[1].id.clone(), listed[3].id.clone()];
    let dropped = broker.drop_dead_letters(Some(&chosen)).await;
    assert_eq!(dropped.expect("it answers"), 2);
    assert_eq!(numbers(&list(&*broker).await), [0, 2]);
    let dropped = broker.drop_dead_letters(None).await;
    assert_eq!(dropped.expect("it answers"), 2);
    assert!(list(&*broker).await.is_empty());
    // Nor did they go back to their queue.
    publish(&*broker, [9]).await;
    assert_eq!(take(&mut consume(&*broker, 1).await, 1).await, [9]);
    broker.close().await;
}

pub async fn unknown_ids_change_nothing(environment: &Environment) {
    let broker = environment.broker().await;
    dead_letter(&*broker, [1]).await;
    let unknown = [DeadLetterId("nobody's".to_owned())];
    let replayed = broker.replay(Some(&unknown)).await;
    assert_eq!(replayed.expect("it answers"), 0);
    let dropped = broker.drop_dead_letters(Some(&unknown)).await;
    assert_eq!(dropped.expect("it answers"), 0);
    assert_eq!(broker.replay(Some(&[])).await.expect("it answers"), 0);
    assert_eq!(numbers(&list(&*broker).await), [1]);
    broker.close().await;
}
