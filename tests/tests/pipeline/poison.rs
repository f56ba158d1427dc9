//! Promise 4: what no program can handle is put aside with its error, and stops nothing.

use bytes::Bytes;
use maskline_messages::{Queue, topology};
use maskline_runtime::{Envelope, broker::Headers};
use maskline_tests::{
    collection::{Collection, books_of},
    place::Place,
    process::Pipeline,
    site::{Manners, Site},
};

pub async fn what_is_no_message_goes_to_the_dead_letters_and_the_rest_flows_on(place: &mut Place) {
    let collection = Collection::faces(20_000, 4);
    let site = Site::serve(&collection, Manners::default()).await;
    // It is ahead of everything that the job sends.
    publish(place, Queue::ValidatorImages, b"{ this is no message").await;
    let pipeline = Pipeline::start(place, &Pipeline::STAGES).await;

    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let job = place.json(&args).await;
    // A service that stops has settled what it took.
    pipeline.stop().await;

    assert_eq!(job[0]["state"], "frozen", "{job:#?}");
    assert_eq!(books_of(&job[0]), collection.books());
    let letters = place.json(&["dead-letters", "list"]).await;
    assert_eq!(letters.len(), 1, "{letters:#?}");
    assert_eq!(letters[0]["queue"], Queue::ValidatorImages.name());
    assert_eq!(letters[0]["key"], Queue::ValidatorImages.keys()[0]);
    assert_eq!(letters[0]["kind"], "poison");
    assert_eq!(letters[0]["stage"], "validator");
    assert_eq!(letters[0]["body"], "{ this is no message");
    let error = letters[0]["error"].as_str().expect("an error");
    assert!(error.contains("can't be read"), "{error}");

    place.maskline(&["dead-letters", "drop", "--all"]).await;
    let letters = place.json(&["dead-letters", "list"]).await;
    assert!(letters.is_empty(), "{letters:#?}");
}

async fn publish(place: &Place, queue: Queue, body: &'static [u8]) {
    let broker = place.broker().await;
    let envelope = Envelope {
        key: queue.keys()[0].to_owned(),
        headers: Headers::from([(topology::headers::MESSAGE_ID.to_owned(), "1".to_owned())]),
        body: Bytes::from_static(body),
    };
    let published = broker.publish(envelope).await;
    published.expect("a broker takes every body");
    broker.close().await;
}
