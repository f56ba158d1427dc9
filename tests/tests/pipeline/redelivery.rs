//! The same images make the same dataset when every message is delivered
//! twice, in another order and to several replicas.

use maskline_messages::Queue;
use maskline_test_support::{environment::Environment, wait::within};
use maskline_tests::{
    collection::{Collection, EndState, counts_of},
    process::Pipeline,
    site::{Behaviour, Site},
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;

pub async fn redelivered_and_shuffled_messages_and_two_replicas_give_the_same_dataset(
    environment: &mut Environment,
) {
    let collection = Collection::faces(40_000, 10)
        .with_look_alikes(41_000)
        .with_dead_links();
    let plain = run_undisturbed(&Environment::embedded(), &collection).await;

    let doubled = run_doubled(environment, &collection.clone().shuffled(1)).await;

    assert_eq!(counts_of(&plain), collection.counts());
    assert_eq!(counts_of(&doubled), collection.counts());
    assert!(plain["dataset"].is_string(), "{plain}");
    assert_eq!(doubled["dataset"], plain["dataset"]);
}

/// Runs the collection through one process of each stage. Returns the job.
async fn run_undisturbed(environment: &Environment, collection: &Collection) -> Value {
    let site = Site::serve(collection, Behaviour::default()).await;
    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;
    let list = site.list();
    let job = environment
        .enqueue(&["urls", &list, "--label-from", "column"])
        .await;
    let job = environment.ended(job).await;
    pipeline.stop().await;
    job
}

/// Runs the collection through two replicas of each stage, one stage after the other. Every
/// message is delivered twice, in a random order. Returns the job.
async fn run_doubled(environment: &Environment, collection: &Collection) -> Value {
    let site = Site::serve(collection, Behaviour::default()).await;
    let list = site.list();
    let job = environment
        .enqueue(&["urls", &list, "--label-from", "column"])
        .await;
    let fetched = collection.count(|entry| entry.file.is_some());
    let sound = collection.count(|entry| entry.end_state == EndState::Stored);
    let copies = fetched - sound;
    let dead = collection.entries.len() + collection.bad_lines.len() - fetched;

    // A message causes the same messages each time it is delivered.
    double(environment, Queue::ScraperSources, 1).await;
    let scrapers = Pipeline::start(environment, &["scraper"; 2]).await;
    double(environment, Queue::ValidatorImages, 2 * fetched).await;
    let validators = Pipeline::start(environment, &["validator"; 2]).await;
    double(environment, Queue::LabelerImages, 4 * sound).await;
    let labelers = Pipeline::start(environment, &["labeler"; 2]).await;
    double(
        environment,
        Queue::StorerImages,
        8 * sound + 4 * copies + 2 * dead,
    )
    .await;
    double(environment, Queue::StorerJobs, 2).await;
    let storers = Pipeline::start(environment, &["storer"; 2]).await;

    let job = environment.ended(job).await;
    for stage in [scrapers, validators, labelers, storers] {
        stage.stop().await;
    }
    job
}

/// Takes `messages` messages from a queue, and publishes each of them twice in a random order.
async fn double(environment: &Environment, queue: Queue, messages: usize) {
    let broker = environment.broker().await;
    let prefetch = u16::try_from(messages).expect("a small collection");
    let consumer = broker.consume(queue, prefetch).await;
    let mut consumer = consumer.expect("the queue can be consumed");
    let mut taken = vec![];
    while taken.len() < messages {
        let delivery = within(queue.name(), consumer.next()).await;
        taken.push(delivery.expect("nobody closed the consumer"));
    }
    consumer.close().await;
    let envelopes = taken.iter().map(|delivery| delivery.envelope.clone());
    let mut twice: Vec<_> = envelopes.clone().chain(envelopes).collect();
    twice.shuffle(&mut StdRng::seed_from_u64(messages as u64));
    let published = broker.publish_all(twice).await;
    published.expect("the broker takes the messages");
    for delivery in taken {
        delivery
            .settle
            .ack()
            .await
            .expect("nobody else has the delivery");
    }
    broker.close().await;
}
