//! Messages that were given up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use maskline_messages::topology::DEAD_LETTERS;
use maskline_runtime::{
    Broker, DeadLetter, DeadLetterId,
    broker::{Why, WhyKind},
};

use crate::place::{Place, QUEUE, becomes, consume, message, next, number, publish, take};

fn why(kind: WhyKind) -> Why {
    Why {
        kind,
        stage: "validator".to_owned(),
        error: "it can't be read: é".to_owned(),
    }
}

/// Publishes these and buries them, one after the other.
async fn bury(broker: &dyn Broker, numbers: impl IntoIterator<Item = u32> + Clone) {
    publish(broker, numbers.clone()).await;
    let mut consumer = consume(broker, 1).await;
    for _ in numbers {
        let delivery = next(&mut consumer).await;
        let buried = delivery.settle.dead_letter(&why(WhyKind::Poison)).await;
        buried.expect("it is ours");
    }
    consumer.close().await;
}

async fn letters(broker: &dyn Broker) -> Vec<DeadLetter> {
    broker.dead_letters(1000).await.expect("it answers")
}

fn numbers(letters: &[DeadLetter]) -> Vec<u32> {
    let envelopes = letters.iter().map(|letter| &letter.envelope);
    envelopes.map(number).collect()
}

fn ids(letters: &[DeadLetter]) -> Vec<DeadLetterId> {
    letters.iter().map(|letter| letter.id.clone()).collect()
}

fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("a clock that is set");
    u64::try_from(since.as_millis()).expect("not that late")
}

pub async fn a_dead_letter_says_everything(place: &Place) {
    let broker = place.open().await;
    let before = milliseconds();
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    let retried = next(&mut consumer).await.settle;
    let retried = retried.retry(Duration::from_millis(1), "not yet").await;
    retried.expect("it is ours");
    let delivery = next(&mut consumer).await;
    let why = why(WhyKind::RetriesExhausted);
    let buried = delivery.settle.dead_letter(&why).await;
    buried.expect("it is ours");
    broker.close().await;

    let broker = place.open().await;
    let letters = letters(&*broker).await;
    let [letter] = &letters[..] else {
        panic!("{letters:?}")
    };
    assert_eq!(letter.queue, QUEUE.name());
    assert_eq!(letter.envelope, message(1));
    assert_eq!(letter.kind, why.kind);
    assert_eq!(letter.stage, why.stage);
    assert_eq!(letter.error, why.error);
    assert_eq!(letter.attempts, 2);
    assert!((before..=milliseconds()).contains(&letter.at));
    assert!(!letter.id.0.is_empty());
    broker.close().await;
}

pub async fn dead_letters_are_listed_oldest_first_and_left_there(place: &Place) {
    let broker = place.open().await;
    assert!(letters(&*broker).await.is_empty());
    bury(&*broker, 0..5).await;
    let listed = letters(&*broker).await;
    assert_eq!(numbers(&listed), [0, 1, 2, 3, 4]);
    becomes(5, async || {
        let lengths = broker.lengths().await.expect("it answers");
        lengths[DEAD_LETTERS]
    })
    .await;
    let first = broker.dead_letters(2).await.expect("it answers");
    assert_eq!(numbers(&first), [0, 1]);
    let again = letters(&*broker).await;
    assert_eq!(ids(&again), ids(&listed));
    broker.close().await;
}

pub async fn a_replayed_letter_begins_anew(place: &Place) {
    let broker = place.open().await;
    publish(&*broker, [1]).await;
    let mut consumer = consume(&*broker, 1).await;
    let retried = next(&mut consumer).await.settle;
    let retried = retried.retry(Duration::from_millis(1), "not yet").await;
    retried.expect("it is ours");
    let buried = next(&mut consumer).await.settle;
    let buried = buried.dead_letter(&why(WhyKind::Poison)).await;
    buried.expect("it is ours");
    consumer.close().await;
    bury(&*broker, [2]).await;

    let listed = letters(&*broker).await;
    let replayed = broker.replay(Some(&ids(&listed)[..1])).await;
    assert_eq!(replayed.expect("it answers"), 1);
    let again = next(&mut consume(&*broker, 1).await).await;
    assert_eq!(again.envelope, message(1));
    assert_eq!(again.attempts, 0);
    again.settle.ack().await.expect("it is ours");
    assert_eq!(ids(&letters(&*broker).await), ids(&listed)[1..]);
    broker.close().await;
}

pub async fn all_letters_are_replayed_at_once(place: &Place) {
    let broker = place.open().await;
    bury(&*broker, 0..100).await;
    assert_eq!(broker.replay(None).await.expect("it answers"), 100);
    assert!(letters(&*broker).await.is_empty());
    let mut again = take(&mut consume(&*broker, 20).await, 100).await;
    again.sort_unstable();
    assert_eq!(again, Vec::from_iter(0..100));
    assert_eq!(broker.replay(None).await.expect("it answers"), 0);
    broker.close().await;
}

pub async fn dropped_letters_are_gone(place: &Place) {
    let broker = place.open().await;
    bury(&*broker, 0..4).await;
    let listed = letters(&*broker).await;
    let chosen = [listed[1].id.clone(), listed[3].id.clone()];
    let dropped = broker.drop_dead_letters(Some(&chosen)).await;
    assert_eq!(dropped.expect("it answers"), 2);
    assert_eq!(numbers(&letters(&*broker).await), [0, 2]);
    let dropped = broker.drop_dead_letters(None).await;
    assert_eq!(dropped.expect("it answers"), 2);
    assert!(letters(&*broker).await.is_empty());
    // Nor did they go back to their queue.
    publish(&*broker, [9]).await;
    assert_eq!(take(&mut consume(&*broker, 1).await, 1).await, [9]);
    broker.close().await;
}

pub async fn unknown_ids_change_nothing(place: &Place) {
    let broker = place.open().await;
    bury(&*broker, [1]).await;
    let unknown = [DeadLetterId("nobody's".to_owned())];
    let replayed = broker.replay(Some(&unknown)).await;
    assert_eq!(replayed.expect("it answers"), 0);
    let dropped = broker.drop_dead_letters(Some(&unknown)).await;
    assert_eq!(dropped.expect("it answers"), 0);
    assert_eq!(broker.replay(Some(&[])).await.expect("it answers"), 0);
    assert_eq!(numbers(&letters(&*broker).await), [1]);
    broker.close().await;
}
