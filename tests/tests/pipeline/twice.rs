//! Promises 1 and 9: delivered twice, in another order and by several replicas,
//! the same images make the same dataset.

use maskline_messages::Queue;
use maskline_tests::{
    collection::{Collection, End, books_of},
    place::Place,
    process::Pipeline,
    site::{Manners, Site},
    within,
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;

pub async fn twice_shuffled_and_by_two_replicas_gives_the_same_dataset(place: &mut Place) {
    let collection = Collection::faces(40_000, 10)
        .with_likes(41_000)
        .with_dead_links();
    let plain = once(&Place::embedded(), &collection).await;

    let stirred = twice(place, &collection.clone().shuffled(1)).await;

    assert_eq!(books_of(&plain), collection.books());
    assert_eq!(books_of(&stirred), collection.books());
    assert!(plain["dataset"].is_string(), "{plain}");
    assert_eq!(stirred["dataset"], plain["dataset"]);
}

/// One of each service, undisturbed.
async fn once(place: &Place, collection: &Collection) -> Value {
    let site = Site::serve(collection, Manners::default()).await;
    let pipeline = Pipeline::start(place, &Pipeline::STAGES).await;
    let list = site.list();
    let job = place
        .enqueue(&["urls", &list, "--label-from", "column"])
        .await;
    let job = place.ended(job).await;
    pipeline.stop().await;
    job
}

/// Stage by stage, two replicas each, every message delivered twice and in an
/// order of its own.
async fn twice(place: &Place, collection: &Collection) -> Value {
    let site = Site::serve(collection, Manners::default()).await;
    let list = site.list();
    let job = place
        .enqueue(&["urls", &list, "--label-from", "column"])
        .await;
    let fetched = collection.count(|entry| entry.file.is_some());
    let sound = collection.count(|entry| entry.end == End::Stored);
    let copies = fetched - sound;
    let dead = collection.entries.len() + collection.lines.len() - fetched;

    // Every message causes the same ones, however often it comes.
    stir(place, Queue::ScraperSources, 1).await;
    let scrapers = Pipeline::start(place, &["scraper"; 2]).await;
    stir(place, Queue::ValidatorImages, 2 * fetched).await;
    let validators = Pipeline::start(place, &["validator"; 2]).await;
    stir(place, Queue::LabelerImages, 4 * sound).await;
    let labelers = Pipeline::start(place, &["labeler"; 2]).await;
    stir(
        place,
        Queue::StorerImages,
        8 * sound + 4 * copies + 2 * dead,
    )
    .await;
    stir(place, Queue::StorerJobs, 2).await;
    let storers = Pipeline::start(place, &["storer"; 2]).await;

    let job = place.ended(job).await;
    for stage in [scrapers, validators, labelers, storers] {
        stage.stop().await;
    }
    job
}

/// Takes so many messages off a queue and puts each back twice, in another order.
async fn stir(place: &Place, queue: Queue, messages: usize) {
    let broker = place.broker().await;
    let prefetch = u16::try_from(messages).expect("a small collection");
    let consumer = broker.consume(queue, prefetch).await;
    let mut consumer = consumer.expect("the queue is there");
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
    published.expect("the broker takes them");
    for delivery in taken {
        delivery.settle.ack().await.expect("it was ours");
    }
    broker.close().await;
}
