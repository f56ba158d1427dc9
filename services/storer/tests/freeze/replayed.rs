//! A candidate that was dead-lettered finishes after its job was frozen.

use maskline_runtime::Failure;
use maskline_storage::records::JobState;
use maskline_test_support::records::dead_lettered;

use crate::{collections::folder, environment::Environment};

#[tokio::test]
async fn a_replayed_candidate_makes_a_new_version_of_the_dataset() {
    let environment = Environment::new().await;
    let (first, job, candidate) = environment.frozen_without_one().await;
    let catalog = &environment.stores.catalog;
    let reopened = [candidate];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    assert!(!environment.freeze().await);
    assert_eq!(environment.state(job).await.state, JobState::Running);

    environment.label(job, candidate, 0).await;
    assert!(environment.freeze().await);
    let frozen = environment.state(job).await;
    let (second, waiting) = environment.announced().await;
    assert_ne!(second.dataset, first.dataset);
    assert_eq!(
        (frozen.state, frozen.dataset),
        (JobState::Frozen, Some(second.dataset))
    );
    assert_eq!((second.networks, waiting), (frozen.train, 0));
    assert!(!environment.freeze().await, "once");
    assert_eq!(catalog.datasets(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_failed_candidate_that_is_labelled_after_all_makes_a_new_version_too() {
    let environment = Environment::new().await;
    let (first, job, candidate) = environment.frozen_without_one().await;
    // Nobody replayed anything. Another delivery of the same message succeeded.
    environment.label(job, candidate, 0).await;
    environment.label(job, candidate, 0).await;
    assert!(environment.freeze().await);
    let (second, waiting) = environment.announced().await;
    assert_ne!(second.dataset, first.dataset);
    assert_eq!(waiting, 0);
    let counts = environment.stores.catalog.counts(job).await.unwrap();
    assert_eq!((counts.stored, counts.failed, counts.in_flight), (20, 0, 0));
}

#[tokio::test]
async fn a_failure_that_is_reported_after_its_dead_letter_was_replayed_is_made_good() {
    let environment = Environment::new().await;
    let (first, job, candidate) = environment.frozen_without_one().await;
    let catalog = &environment.stores.catalog;
    let reopened = [candidate];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    // The report comes once more, because the storer died before it acknowledged it. Nobody can
    // tell it from a report of a new failure.
    environment.finish(candidate, None, dead_lettered()).await;
    assert!(environment.freeze().await);
    let (again, _) = environment.announced().await;
    assert_eq!(again.dataset, first.dataset);
    // The replayed message gets through.
    environment.label(job, candidate, 0).await;
    assert!(environment.freeze().await);
    let (second, _) = environment.announced().await;
    assert_ne!(second.dataset, first.dataset);
    let counts = catalog.counts(job).await.unwrap();
    assert_eq!((counts.stored, counts.failed, counts.in_flight), (20, 0, 0));
}

#[tokio::test]
async fn a_candidate_of_a_source_that_failed_makes_a_new_version_when_it_is_replayed() {
    let environment = Environment::new().await;
    let catalog = &environment.stores.catalog;
    let (broken, candidates) = environment.enqueue(&folder("broken"), 100..102).await;
    environment.store(broken, candidates[0], 100).await;
    environment
        .finish(candidates[1], None, dead_lettered())
        .await;
    catalog.fail_job(broken, "the list was gone").await.unwrap();
    let first = environment.grow(&folder("whole"), 0..20).await;
    assert_eq!(environment.members(&first).await.len(), 21);
    assert!(!environment.freeze().await);

    let reopened = [candidates[1]];
    catalog.reopen_candidates(broken, &reopened).await.unwrap();
    assert!(!environment.freeze().await, "one is in flight");
    environment.label(broken, candidates[1], 101).await;
    assert!(environment.freeze().await);
    let datasets = catalog.datasets(10).await.unwrap();
    assert_eq!(datasets.len(), 2);
    assert_eq!(environment.members(&datasets[0].id).await.len(), 22);
}

#[tokio::test]
async fn a_message_that_names_the_wrong_job_is_retried_and_opens_nothing() {
    let environment = Environment::new().await;
    let (_, job, given_up) = environment.frozen_without_one().await;
    let (other, _) = environment.job(1).await;
    // The candidate does not belong to the job that the message names.
    let failure = environment
        .try_to_label(other, given_up, 0)
        .await
        .unwrap_err();
    assert!(matches!(failure, Failure::Retry { .. }), "{failure}");
    let counts = environment.stores.catalog.counts(job).await.unwrap();
    assert_eq!((counts.failed, counts.in_flight), (1, 0));
}

#[tokio::test]
async fn a_replayed_candidate_that_fails_again_leaves_the_dataset_as_it_is() {
    let environment = Environment::new().await;
    let (first, job, candidate) = environment.frozen_without_one().await;
    let catalog = &environment.stores.catalog;
    let reopened = [candidate];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    environment.finish(candidate, None, dead_lettered()).await;
    assert!(environment.freeze().await);
    assert_eq!(environment.state(job).await.state, JobState::Frozen);
    let (again, _) = environment.announced().await;
    assert_eq!(again.dataset, first.dataset);
    assert_eq!(catalog.datasets(10).await.unwrap().len(), 1);
}
