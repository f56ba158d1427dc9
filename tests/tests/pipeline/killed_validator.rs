//! A service that dies loses nothing.

use maskline_test_support::{environment::Environment, wait::within};
use maskline_tests::{
    collection::{Collection, counts_of},
    process::{Pipeline, Process},
    site::{Behaviour, Site},
};

pub async fn a_killed_validator_loses_nothing(environment: &mut Environment) {
    // The images are large, so that the validator needs a while for each.
    let collection = Collection::faces_of_side(9_000, 30, 800).with_rejects(9_900);
    // The second half is served when the validator is dead, so that it dies in the middle.
    let half = &collection.entries[collection.entries.len() / 2..];
    let behaviour = Behaviour {
        held: half.iter().map(|entry| entry.path.clone()).collect(),
        ..Behaviour::default()
    };
    let site = Site::serve(&collection, behaviour).await;
    let others = Pipeline::start(environment, &["scraper", "labeler", "storer"]).await;
    let mut validator = Process::start(environment, "validator").await;
    let list = site.list();
    let job = environment
        .enqueue(&["urls", &list, "--label-from", "column"])
        .await;

    within("images in flight", at_work(&validator)).await;
    validator.kill().await;
    site.release_held();
    let another = Pipeline::start(environment, &["validator"]).await;

    let job = environment.ended(job).await;
    assert_eq!(job["state"], "frozen", "{job}");
    assert_eq!(counts_of(&job), collection.counts());
    others.stop().await;
    another.stop().await;
}

/// Waits until it has handled some messages and is handling others.
async fn at_work(validator: &Process) {
    while validator.metric("maskline_messages_handled_total").await == 0.0
        || validator.metric("maskline_messages_in_flight").await == 0.0
    {}
}
