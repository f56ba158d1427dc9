//! Promise 1: what dies loses nothing.

use std::time::Duration;

use maskline_messages::JobId;
use maskline_tests::{
    collection::{Collection, books_of},
    place::Place,
    process::{Pipeline, Process},
    site::{Manners, Site},
    within,
};

pub async fn a_killed_validator_loses_nothing(place: &mut Place) {
    let collection = Collection::faces(9_000, 60).with_dirt(9_900);
    // The second half comes only when the validator is dead: it dies in the middle.
    let half = &collection.entries[collection.entries.len() / 2..];
    let manners = Manners {
        held: half.iter().map(|entry| entry.path.clone()).collect(),
        ..Manners::default()
    };
    let site = Site::serve(&collection, manners).await;
    let others = Pipeline::start(place, &["scraper", "labeler", "storer"]).await;
    let validator = Process::start(place, "validator").await;
    let list = site.list();
    let job = place
        .enqueue(&["urls", &list, "--label-from", "column"])
        .await;

    first_stored(place, job).await;
    validator.kill().await;
    site.open();
    let another = Pipeline::start(place, &["validator"]).await;

    let job = place.ended(job).await;
    assert_eq!(job["state"], "frozen", "{job}");
    assert_eq!(books_of(&job), collection.books());
    others.stop().await;
    another.stop().await;
}

/// Waits until an image has come through.
async fn first_stored(place: &Place, job: JobId) {
    let catalog = place.stores().await.catalog;
    let stored = async {
        while catalog.books(job).await.expect("the catalog").stored == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the first image stored", stored).await;
}
