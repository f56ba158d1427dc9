//! A job is frozen when it is complete.

use maskline_messages::{
    CollectionName, ImageFailed, JobFailed, NetworkName, Source, SplitSettings,
};
use maskline_runtime::{Context, Handler, Worker};
use maskline_storage::records::{Collection, Job, JobState, Work};
use maskline_test_support::records;

use crate::environment::Environment;

#[tokio::test]
async fn a_job_is_frozen_when_nothing_is_in_flight_and_not_before() {
    let environment = Environment::new().await;
    let (job, candidates) = environment.job(20).await;
    environment.expanded(job).await;
    for (number, candidate) in candidates.iter().skip(1).enumerate() {
        environment.store(job, *candidate, number as u64 + 1).await;
    }
    assert!(!environment.freeze().await);
    assert_eq!(environment.state(job).await.state, JobState::Running);

    environment.store(job, candidates[0], 0).await;
    assert!(environment.freeze().await);
    let frozen = environment.state(job).await;
    assert_eq!(frozen.state, JobState::Frozen);
    let (ready, waiting) = environment.announced().await;
    assert_eq!(
        (Some(ready.dataset), ready.networks),
        (frozen.dataset, frozen.train)
    );
    assert_eq!(waiting, 0);
    assert!(!environment.freeze().await, "once");
}

#[tokio::test]
async fn a_version_is_announced_again_for_a_job_that_brings_nothing_new() {
    let environment = Environment::new().await;
    let (first, _, _) = environment.frozen_without_one().await;
    // It is the same if a storer died between the version and its announcement.
    let twin = Job {
        source: Source::Folder {
            path: "elsewhere".into(),
        },
        train: vec![NetworkName::MobilenetV3Small.into()],
        ..records::job()
    };
    let (twin, _) = environment.enqueue(&twin, 0..0).await;
    environment.expanded(twin).await;
    assert!(environment.freeze().await);
    let (again, _) = environment.announced().await;
    assert_eq!((again.job, again.dataset), (Some(twin), first.dataset));
    assert_eq!(environment.state(twin).await.version, Some(1));
    assert_eq!(
        environment.stores.catalog.datasets(10).await.unwrap().len(),
        1
    );
}

#[tokio::test]
async fn an_error_about_one_collection_does_not_hold_up_another() {
    let environment = Environment::new().await;
    let (job, candidates) = environment.job(4).await;
    let catalog = &environment.stores.catalog;
    // Its name sorts before the other's, so its work comes first.
    let broken: CollectionName = "a".parse().unwrap();
    let collection = Collection::new(broken.clone(), vec![], SplitSettings::default());
    catalog.create_collection(&collection).await.unwrap();
    environment.lose_the_members_of(&collection).await;
    let freezing = Work::Freeze(broken);
    catalog.offer_work_again(&freezing).await.unwrap();
    for (number, candidate) in candidates.iter().enumerate() {
        environment.store(job, *candidate, number as u64).await;
    }
    environment.expanded(job).await;
    assert!(environment.freeze().await);
    assert_eq!(environment.state(job).await.state, JobState::Frozen);
    let error = environment
        .freezer
        .work(&environment.context)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("the members of dataset"),
        "{error:#}"
    );
}

#[tokio::test]
async fn a_job_without_accepted_images_fails_and_says_where_to_look() {
    let environment = Environment::new().await;
    let (job, _) = environment.job(0).await;
    environment.expanded(job).await;
    assert!(environment.freeze().await);
    let failed = environment.state(job).await;
    assert_eq!(failed.state, JobState::Failed);
    let error = failed.error.unwrap();
    assert!(
        error.contains(&format!("maskline rejects {job}")),
        "{error}"
    );
}

#[tokio::test]
async fn a_step_that_fails_late_does_not_fail_an_expanded_job() {
    let environment = Environment::new().await;
    let context = Context::default();
    let failed = |job| JobFailed {
        job,
        stage: "scraper".to_owned(),
        error: "the list was changed".to_owned(),
    };
    let (expanded, _) = environment.job(1).await;
    environment.expanded(expanded).await;
    let (expanding, candidates) = environment.job(1).await;
    for job in [expanded, expanding] {
        environment
            .jobs
            .handle(failed(job).into(), &context)
            .await
            .unwrap();
    }
    assert_eq!(environment.state(expanded).await.state, JobState::Running);
    let job = environment.state(expanding).await;
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.error.as_deref(), Some("scraper: the list was changed"));

    let given_up = ImageFailed {
        job: expanding,
        candidate: candidates[0],
        stage: "validator".to_owned(),
        error: "boom".to_owned(),
        attempts: 3,
    };
    environment
        .images
        .handle(given_up.into(), &context)
        .await
        .unwrap();
    let counts = environment.stores.catalog.counts(expanding).await.unwrap();
    assert_eq!((counts.found, counts.failed, counts.in_flight), (1, 1, 0));
}
