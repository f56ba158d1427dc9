//! A job is frozen when it is complete.

use maskline_messages::{ImageFailed, JobFailed, JobId};
use maskline_runtime::{Context, Handler, Worker};
use maskline_storage::records::{JobState, Work};

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
async fn a_frozen_job_is_announced_again_without_being_planned_again() {
    let environment = Environment::new().await;
    let (first, _, _) = environment.frozen_without_one().await;

    // A storer died between the freeze and its announcement.
    let (twin, _) = environment.job(0).await;
    let dataset = environment
        .stores
        .catalog
        .dataset(&first.dataset)
        .await
        .unwrap()
        .unwrap();
    environment.expanded(twin).await;
    let settled = environment.stores.catalog.settled(twin).await.unwrap();
    let settled = settled.expect("nothing is in flight");
    let freezing = environment.stores.catalog.freeze(twin, &dataset, settled);
    freezing.await.unwrap();
    assert!(environment.freeze().await);
    let (again, _) = environment.announced().await;
    assert_eq!((again.job, again.dataset), (twin, first.dataset));
    assert_eq!(
        environment.stores.catalog.datasets(10).await.unwrap().len(),
        1
    );
}

#[tokio::test]
async fn an_error_about_one_job_does_not_hold_up_another() {
    let environment = Environment::new().await;
    let (job, candidates) = environment.job(4).await;
    // Its id sorts before that of every job that is created now, so its work comes first.
    let unknown: JobId = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    environment
        .stores
        .catalog
        .offer_work(&Work::Freeze(unknown))
        .await
        .unwrap();
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
        error.to_string().contains("not in the catalog"),
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
    assert!(failed.error.unwrap().contains("maskline rejects"));
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
