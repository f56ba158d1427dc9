//! Jobs and their states.

use maskline_messages::{DatasetId, JobId, Reason};
use maskline_storage::{
    Catalog, StorageError,
    lease::LeaseWatch,
    records::{CandidateState, Dataset, Job, JobState, NewCandidate, OutcomeKind, Work},
};

use crate::{
    environment::Environment,
    samples::{
        acquire, candidates, dataset, expanded_job, fail, failed, finish, freeze, job, lease_on,
        recorded_job, rejected, state, store,
    },
};

contract! {
    a_job_is_recorded_once_and_as_it_is,
    jobs_come_newest_first,
    a_job_only_moves_forwards,
    a_failed_job_stays_failed,
    a_failed_expansion_goes_on_when_it_is_reopened,
    a_job_is_settled_when_it_is_running_and_nothing_is_in_flight,
    a_frozen_job_waits_for_a_reopened_candidate,
    a_plan_from_before_a_candidate_was_reopened_freezes_nothing,
    a_holder_of_the_freezing_from_before_it_was_reopened_can_not_finish_it,
    a_job_whose_candidates_are_stored_or_rejected_stays_frozen,
    reopened_candidates_do_not_reopen_a_failed_expansion,
    a_dataset_is_frozen_once,
}

async fn a_job_is_recorded_once_and_as_it_is(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = job();
    assert_eq!(catalog.job(job.id).await, Ok(None));
    catalog.create_job(&job).await.unwrap();
    let mut again = job.clone();
    again.created += 1;
    catalog.create_job(&again).await.unwrap();
    assert_eq!(catalog.job(job.id).await, Ok(Some(job)));
}

async fn jobs_come_newest_first(environment: &Environment) {
    let catalog = environment.catalog().await;
    let mut ids = vec![];
    for created in [20, 10, 30] {
        let job = Job { created, ..job() };
        catalog.create_job(&job).await.unwrap();
        ids.push(job.id);
    }
    let listed: Vec<JobId> = ids_of(&catalog.jobs(10).await.unwrap());
    assert_eq!(listed, [ids[2], ids[0], ids[1]]);
    let listed: Vec<JobId> = ids_of(&catalog.jobs(2).await.unwrap());
    assert_eq!(listed, [ids[2], ids[0]]);
}

fn ids_of(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

async fn a_job_only_moves_forwards(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    assert_eq!(state(&*catalog, job).await, JobState::Expanding);
    catalog.finish_expansion(job).await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Running);
    let dataset = dataset(job, b"a");
    freeze(&*catalog, job, &dataset).await;
    catalog.finish_expansion(job).await.unwrap();
    catalog.fail_job(job, "too late").await.unwrap();
    let job = catalog.job(job).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Frozen);
    assert_eq!(job.dataset, Some(dataset.id));
    assert_eq!(job.error, None);
}

async fn a_failed_job_stays_failed(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    catalog.fail_job(job, "no such folder").await.unwrap();
    catalog.fail_job(job, "something later").await.unwrap();
    catalog.finish_expansion(job).await.unwrap();
    let found = catalog.job(job).await.unwrap().unwrap();
    assert_eq!(found.state, JobState::Failed);
    assert_eq!(found.error.as_deref(), Some("no such folder"));

    let empty = expanded_job(&*catalog).await;
    let settled = catalog.settled(empty).await.unwrap();
    let settled = settled.expect("nothing was found in it");
    let failing = catalog.fail_settled(empty, "nothing is left", settled);
    failing.await.unwrap();
    let dataset = dataset(empty, b"a");
    catalog.freeze(empty, &dataset, settled).await.unwrap();
    let found = catalog.job(empty).await.unwrap().unwrap();
    assert_eq!((found.state, found.dataset), (JobState::Failed, None));

    let unknown = JobId::draw();
    let not_found = Err(StorageError::not_found(format!("job {unknown}")));
    assert_eq!(catalog.fail_job(unknown, "why").await, not_found);
    assert_eq!(catalog.finish_expansion(unknown).await, not_found);
}

async fn a_failed_expansion_goes_on_when_it_is_reopened(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    catalog.reopen_expansion(job, "dead letter").await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Expanding);
    catalog.fail_job(job, "the list was gone").await.unwrap();
    for _ in 0..2 {
        catalog.reopen_expansion(job, "dead letter").await.unwrap();
        let found = catalog.job(job).await.unwrap().unwrap();
        assert_eq!((found.state, found.error), (JobState::Expanding, None));
        assert_eq!(found.replayed.as_deref(), Some("dead letter"));
    }
    catalog.finish_expansion(job).await.unwrap();
    catalog.offer_work(&Work::Freeze(job)).await.unwrap();
    catalog.reopen_expansion(job, "dead letter").await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Running);

    // The job failed after its expansion, so there is nothing more to expand.
    fail(&*catalog, job).await;
    catalog.reopen_expansion(job, "dead letter").await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Failed);

    let unknown = JobId::draw();
    let not_found = Err(StorageError::not_found(format!("job {unknown}")));
    assert_eq!(
        catalog.reopen_expansion(unknown, "dead letter").await,
        not_found
    );
}

/// A job that was frozen without its only candidate, which failed.
async fn frozen_without(catalog: &dyn Catalog) -> (JobId, NewCandidate, Dataset) {
    let job = recorded_job(catalog).await;
    let [candidate, ..] = candidates(job);
    catalog
        .add_candidates(std::slice::from_ref(&candidate))
        .await
        .unwrap();
    finish(catalog, candidate.id, failed()).await;
    catalog.finish_expansion(job).await.unwrap();
    catalog.offer_work(&Work::Freeze(job)).await.unwrap();
    let dataset = dataset(job, b"without it");
    freeze(catalog, job, &dataset).await;
    (job, candidate, dataset)
}

async fn a_frozen_job_waits_for_a_reopened_candidate(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (job, candidate, without) = frozen_without(&*catalog).await;
    let work = Work::Freeze(job);
    let held = acquire(&*catalog, &work, "one").await;
    assert_eq!(catalog.finish_work(&held).await, Ok(true));

    let reopened = [candidate.id];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    let found = catalog.job(job).await.unwrap().unwrap();
    assert_eq!(found.state, JobState::Running);
    assert_eq!(
        found.dataset,
        Some(without.id),
        "until there is a newer one"
    );
    assert_eq!(catalog.settled(job).await, Ok(None));
    assert_eq!(lease_on(&*catalog, &work).await.owner, None);

    store(&*catalog, &candidate, b"a", "with_mask").await;
    let with = dataset(job, b"with it");
    freeze(&*catalog, job, &with).await;
    let found = catalog.job(job).await.unwrap().unwrap();
    assert_eq!(
        (found.state, found.dataset),
        (JobState::Frozen, Some(with.id))
    );

    // A job that failed because nothing was left of it waits, too.
    let job = expanded_job(&*catalog).await;
    let [candidate, ..] = candidates(job);
    catalog
        .add_candidates(std::slice::from_ref(&candidate))
        .await
        .unwrap();
    finish(&*catalog, candidate.id, failed()).await;
    fail(&*catalog, job).await;
    let reopened = [candidate.id];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    let found = catalog.job(job).await.unwrap().unwrap();
    assert_eq!((found.state, found.error), (JobState::Running, None));
}

async fn a_plan_from_before_a_candidate_was_reopened_freezes_nothing(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let [candidate, ..] = candidates(job);
    catalog
        .add_candidates(std::slice::from_ref(&candidate))
        .await
        .unwrap();
    finish(&*catalog, candidate.id, failed()).await;
    catalog.finish_expansion(job).await.unwrap();
    catalog.offer_work(&Work::Freeze(job)).await.unwrap();
    let before = catalog.settled(job).await.unwrap().expect("it is settled");

    catalog
        .reopen_candidates(job, &[candidate.id])
        .await
        .unwrap();
    store(&*catalog, &candidate, b"a", "with_mask").await;
    let without = dataset(job, b"without it");
    catalog.freeze(job, &without, before).await.unwrap();
    let failing = catalog.fail_settled(job, "nothing is left", before);
    failing.await.unwrap();
    let found = catalog.job(job).await.unwrap().unwrap();
    assert_eq!((found.state, found.dataset), (JobState::Running, None));

    let with = dataset(job, b"with it");
    freeze(&*catalog, job, &with).await;
    assert_eq!(state(&*catalog, job).await, JobState::Frozen);
}

async fn a_holder_of_the_freezing_from_before_it_was_reopened_can_not_finish_it(
    environment: &Environment,
) {
    let catalog = environment.catalog().await;
    let (job, candidate, _) = frozen_without(&*catalog).await;
    let work = Work::Freeze(job);
    let watch = LeaseWatch::new(catalog.clone());
    let held = watch.claim_any("freeze", "a").await.unwrap();
    let held = held.expect("it is free");
    catalog
        .reopen_candidates(job, &[candidate.id])
        .await
        .unwrap();
    let refused = held.finish().await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    assert_eq!(lease_on(&*catalog, &work).await.owner, None);
}

async fn a_job_whose_candidates_are_stored_or_rejected_stays_frozen(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let [a, b, unknown] = candidates(job);
    catalog
        .add_candidates(&[a.clone(), b.clone()])
        .await
        .unwrap();
    store(&*catalog, &a, b"a", "with_mask").await;
    finish(&*catalog, b.id, rejected(Reason::Empty)).await;
    catalog.finish_expansion(job).await.unwrap();
    catalog.offer_work(&Work::Freeze(job)).await.unwrap();
    let held = acquire(&*catalog, &Work::Freeze(job), "one").await;
    freeze(&*catalog, job, &dataset(job, b"a")).await;
    assert_eq!(catalog.finish_work(&held).await, Ok(true));

    let ended = [a.id, b.id, unknown.id];
    catalog.reopen_candidates(job, &ended).await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Frozen);
    assert_eq!(catalog.open_work("freeze").await, Ok(vec![]));
}

async fn reopened_candidates_do_not_reopen_a_failed_expansion(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let [candidate, ..] = candidates(job);
    catalog
        .add_candidates(std::slice::from_ref(&candidate))
        .await
        .unwrap();
    finish(&*catalog, candidate.id, failed()).await;
    catalog.fail_job(job, "the list was gone").await.unwrap();
    catalog
        .reopen_candidates(job, &[candidate.id])
        .await
        .unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Failed);
    let found = catalog.candidate(candidate.id).await.unwrap().unwrap();
    assert_eq!(found.state, CandidateState::InFlight);
}

async fn a_job_is_settled_when_it_is_running_and_nothing_is_in_flight(environment: &Environment) {
    let catalog = environment.catalog().await;
    let settled = async |job| catalog.settled(job).await.unwrap().is_some();
    let job = recorded_job(&*catalog).await;
    let [a, b, _] = candidates(job);
    assert!(!settled(job).await, "it may find more");
    catalog
        .add_candidates(&[a.clone(), b.clone()])
        .await
        .unwrap();
    catalog.finish_expansion(job).await.unwrap();
    assert!(!settled(job).await, "two are in flight");
    finish(&*catalog, a.id, OutcomeKind::Stored).await;
    assert!(!settled(job).await, "one is in flight");
    finish(&*catalog, b.id, failed()).await;
    assert!(settled(job).await);
    freeze(&*catalog, job, &dataset(job, b"a")).await;
    assert!(!settled(job).await, "it is frozen already");

    let empty = recorded_job(&*catalog).await;
    catalog.finish_expansion(empty).await.unwrap();
    assert!(settled(empty).await, "nothing was found in it");
    assert!(!settled(JobId::draw()).await, "there is no such job");
}

async fn a_dataset_is_frozen_once(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    catalog.finish_expansion(one).await.unwrap();
    catalog.finish_expansion(other).await.unwrap();
    let first = dataset(one, b"content");
    let of_one = catalog.settled(one).await.unwrap().expect("it is settled");
    catalog.freeze(one, &first, of_one).await.unwrap();
    catalog.freeze(one, &first, of_one).await.unwrap();
    // Another job with the same images has the same dataset.
    let second = Dataset {
        job: other,
        created: first.created + 1,
        ..first.clone()
    };
    freeze(&*catalog, other, &second).await;
    assert_eq!(
        catalog.dataset(&first.id).await,
        Ok(Some(first.clone())),
        "the first stays"
    );
    for job in [one, other] {
        let job = catalog.job(job).await.unwrap().unwrap();
        assert_eq!((job.state, job.dataset), (JobState::Frozen, Some(first.id)));
    }
    let newer = Dataset {
        created: first.created + 5,
        ..dataset(one, b"more")
    };
    catalog.freeze(one, &newer, of_one).await.unwrap();
    let job = catalog.job(one).await.unwrap().unwrap();
    assert_eq!(job.dataset, Some(first.id), "a job is frozen once");
    assert_eq!(
        catalog.datasets(10).await,
        Ok(vec![newer.clone(), first.clone()])
    );
    assert_eq!(catalog.datasets(1).await, Ok(vec![newer]));
    assert_eq!(catalog.dataset(&DatasetId::of(b"absent")).await, Ok(None));

    let unknown = JobId::draw();
    let not_found = StorageError::not_found(format!("job {unknown}"));
    let frozen = catalog.freeze(unknown, &first, of_one).await;
    assert_eq!(frozen, Err(not_found));
}
