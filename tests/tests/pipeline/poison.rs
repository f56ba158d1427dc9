//! A message that no service can handle is dead-lettered with its error, and holds
//! up nothing.

use maskline_messages::{Queue, topology::headers};
use maskline_test_support::{environment::Environment, publish};
use maskline_tests::{
    collection::{Collection, counts_of},
    process::Pipeline,
    site::{Behaviour, Site},
};

pub async fn an_unreadable_message_is_dead_lettered_and_disturbs_nothing(
    environment: &mut Environment,
) {
    let collection = Collection::faces(20_000, 4);
    let site = Site::serve(&collection, Behaviour::default()).await;
    // It comes before every message of the job.
    let (queue, id) = (Queue::ValidatorImages, [(headers::MESSAGE_ID, "1")]);
    let broker = environment.broker().await;
    publish::raw(&*broker, queue, &id, publish::UNREADABLE).await;
    broker.close().await;
    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;

    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let job = environment.json(&args).await;
    // A service that has stopped has settled its deliveries.
    pipeline.stop().await;

    assert_eq!(job[0]["state"], "frozen", "{job:#?}");
    assert_eq!(counts_of(&job[0]), collection.counts());
    let dead_letters = environment.json(&["dead-letters", "list"]).await;
    assert_eq!(dead_letters.len(), 1, "{dead_letters:#?}");
    assert_eq!(dead_letters[0]["queue"], queue.name());
    assert_eq!(dead_letters[0]["key"], queue.keys()[0]);
    assert_eq!(dead_letters[0]["kind"], "poison");
    assert_eq!(dead_letters[0]["stage"], "validator");
    assert_eq!(dead_letters[0]["body"], "{ this is no message");
    let error = dead_letters[0]["error"].as_str().expect("an error");
    assert!(error.contains("can't be read"), "{error}");

    environment
        .maskline(&["dead-letters", "drop", "--all"])
        .await;
    let dead_letters = environment.json(&["dead-letters", "list"]).await;
    assert!(dead_letters.is_empty(), "{dead_letters:#?}");
}
