//! Promise 1: what dies loses nothing.

use maskline_tests::{
    collection::{Collection, books_of},
    place::Place,
    process::{Pipeline, Process},
    site::{Manners, Site},
    within,
};

pub async fn a_killed_validator_loses_nothing(place: &mut Place) {
    // Large ones, which take a while.
    let collection = Collection::faces_of_side(9_000, 30, 800).with_dirt(9_900);
    // The second half comes only when the validator is dead: it dies in the middle.
    let half = &collection.entries[collection.entries.len() / 2..];
    let manners = Manners {
        held: half.iter().map(|entry| entry.path.clone()).collect(),
        ..Manners::default()
    };
    let site = Site::serve(&collection, manners).await;
    let others = Pipeline::start(place, &["scraper", "labeler", "storer"]).await;
    let mut validator = Process::start(place, "validator").await;
    let list = site.list();
    let job = place
        .enqueue(&["urls", &list, "--label-from", "column"])
        .await;

    within("images in hand", at_work(&validator)).await;
    validator.kill().await;
    site.open();
    let another = Pipeline::start(place, &["validator"]).await;

    let job = place.ended(job).await;
    assert_eq!(job["state"], "frozen", "{job}");
    assert_eq!(books_of(&job), collection.books());
    others.stop().await;
    another.stop().await;
}

/// Waits until it has finished some and has others in hand.
async fn at_work(validator: &Process) {
    while validator.metric("maskline_messages_handled_total").await == 0.0
        || validator.metric("maskline_messages_in_flight").await == 0.0
    {}
}
