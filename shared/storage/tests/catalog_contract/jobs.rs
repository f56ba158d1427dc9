//! Jobs and their states.

use maskline_messages::{JobId, Reason};
use maskline_storage::{
    StorageError,
    lease::LeaseWatch,
    records::{CandidateState, Job, JobState, Pause, Version, Work},
};
use maskline_test_support::records;

use crate::{
    environment::Environment,
    samples::{
        acquire, add, add_version, candidate_state, candidates, expanded_job, fail, failed, finish,
        found_job, freeze, job, job_with_failed_candidate, lease_on, named, next_dataset,
        recorded_job, rejected, settled, state, store, usual,
    },
};

contract! {
    a_job_is_recorded_once_and_as_it_is,
    a_job_needs_its_collection,
    jobs_come_newest_first,
    a_job_only_moves_forwards,
    a_job_says_what_its_expansion_waits_for,
    a_failed_job_stays_failed,
    a_failed_expansion_goes_on_when_it_is_reopened,
    a_frozen_job_waits_for_a_reopened_candidate,
    a_failed_job_waits_for_a_reopened_candidate,
    a_plan_from_before_a_candidate_was_reopened_freezes_nothing,
    a_holder_of_the_freezing_from_before_it_was_reopened_can_not_finish_it,
    a_job_whose_candidates_are_stored_or_rejected_stays_frozen,
    reopened_candidates_do_not_reopen_a_failed_expansion,
    a_freezing_that_nobody_asked_for_is_not_offered_again,
    a_job_is_frozen_once,
    a_job_that_was_not_in_the_proof_is_not_frozen_by_it,
    a_job_of_a_version_is_frozen_although_its_collection_was_opened_since,
}

async fn a_job_is_recorded_once_and_as_it_is(environment: &Environment) {
    let catalog = environment.catalog().await;
    let one = job();
    assert_eq!(catalog.job(one.id).await, Ok(None));
    records::create_job(&*catalog, &one).await;
    let mut again = one.clone();
    again.created += 1;
    catalog.create_job(&again).await.unwrap();
    assert_eq!(catalog.job(one.id).await, Ok(Some(one)));

    let mut hidden = records::job();
    hidden.freeze = false;
    hidden.removed = Some(1_790_000_000_000);
    catalog.create_job(&hidden).await.unwrap();
    assert_eq!(catalog.job(hidden.id).await, Ok(Some(hidden)));
}

async fn a_job_needs_its_collection(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = Job {
        collection: named("masks"),
        ..job()
    };
    let not_found = StorageError::not_found("collection masks".to_owned());
    assert_eq!(catalog.create_job(&job).await, Err(not_found));
    assert_eq!(catalog.job(job.id).await, Ok(None));
    records::create_job(&*catalog, &job).await;
    assert_eq!(catalog.job(job.id).await, Ok(Some(job)));
}

async fn jobs_come_newest_first(environment: &Environment) {
    let catalog = environment.catalog().await;
    let mut ids = vec![];
    for (created, collection) in [(20, "one"), (10, "other"), (30, "one")] {
        let job = Job {
            created,
            collection: named(collection),
            ..job()
        };
        records::create_job(&*catalog, &job).await;
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
    let found = found_job(&*catalog, job).await;
    assert_eq!((found.state, found.expanded), (JobState::Expanding, false));
    catalog.finish_expansion(job).await.unwrap();
    let found = found_job(&*catalog, job).await;
    assert_eq!((found.state, found.expanded), (JobState::Running, true));
    let version = freeze(&*catalog, b"a").await;
    catalog.finish_expansion(job).await.unwrap();
    catalog.fail_job(job, "too late").await.unwrap();
    let found = found_job(&*catalog, job).await;
    assert_eq!((found.state, found.expanded), (JobState::Frozen, true));
    assert_eq!(
        (found.dataset, found.version),
        (Some(version.dataset), Some(version.number))
    );
    assert_eq!(found.error, None);
}

async fn a_job_says_what_its_expansion_waits_for(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let pause = |until| Pause {
        until,
        reason: "the day's requests are used up".to_owned(),
    };
    for until in [1_000, 2_000] {
        catalog.pause_expansion(job, &pause(until)).await.unwrap();
        let found = found_job(&*catalog, job).await;
        assert_eq!(
            (found.pause, found.state),
            (Some(pause(until)), JobState::Expanding)
        );
    }
    catalog.finish_expansion(job).await.unwrap();
    catalog.pause_expansion(job, &pause(3_000)).await.unwrap();
    let found = found_job(&*catalog, job).await;
    assert_eq!(
        (found.pause, found.state),
        (Some(pause(2_000)), JobState::Running)
    );

    let unknown = JobId::draw();
    let not_found = Err(StorageError::not_found(format!("job {unknown}")));
    let pausing = catalog.pause_expansion(unknown, &pause(1_000)).await;
    assert_eq!(pausing, not_found);
}

async fn a_failed_job_stays_failed(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    catalog.fail_job(job, "no such folder").await.unwrap();
    catalog.fail_job(job, "something later").await.unwrap();
    catalog.finish_expansion(job).await.unwrap();
    let found = found_job(&*catalog, job).await;
    assert_eq!((found.state, found.expanded), (JobState::Failed, false));
    assert_eq!(found.error.as_deref(), Some("no such folder"));

    let empty = expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    let failing = catalog.fail_settled(empty, "nothing is left", &proof);
    failing.await.unwrap();
    let failing = catalog.fail_settled(empty, "something later", &proof);
    failing.await.unwrap();
    let version = add_version(&*catalog, b"a", &proof).await;
    for job in [job, empty] {
        catalog.freeze(job, &version, &proof).await.unwrap();
    }
    let found = found_job(&*catalog, empty).await;
    assert_eq!((found.state, found.dataset), (JobState::Failed, None));
    assert_eq!(found.version, None);
    assert_eq!(found.error.as_deref(), Some("nothing is left"));
    assert_eq!(state(&*catalog, job).await, JobState::Failed);

    let unknown = JobId::draw();
    let not_found = Err(StorageError::not_found(format!("job {unknown}")));
    assert_eq!(catalog.fail_job(unknown, "why").await, not_found);
    assert_eq!(catalog.finish_expansion(unknown).await, not_found);
    let failing = catalog.fail_settled(unknown, "why", &proof).await;
    assert_eq!(failing, not_found);
}

async fn a_failed_expansion_goes_on_when_it_is_reopened(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    catalog.reopen_expansion(job, "dead letter").await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Expanding);
    catalog.fail_job(job, "the list was gone").await.unwrap();
    for _ in 0..2 {
        catalog.reopen_expansion(job, "dead letter").await.unwrap();
        let found = found_job(&*catalog, job).await;
        assert_eq!((found.state, found.error), (JobState::Expanding, None));
        assert_eq!(found.replayed.as_deref(), Some("dead letter"));
    }
    catalog.finish_expansion(job).await.unwrap();
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

async fn a_frozen_job_waits_for_a_reopened_candidate(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (job, candidate) = job_with_failed_candidate(&*catalog).await;
    catalog.finish_expansion(job).await.unwrap();
    let beside = expanded_job(&*catalog).await;
    let without = freeze(&*catalog, b"without it").await;
    let work = Work::Freeze(usual());
    let held = acquire(&*catalog, &work, "one").await;
    assert_eq!(catalog.finish_work(&held).await, Ok(true));

    let reopened = [candidate.id];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    let found = found_job(&*catalog, job).await;
    assert_eq!(found.state, JobState::Running);
    assert_eq!(
        (found.dataset, found.version),
        (Some(without.dataset), Some(1)),
        "until there is a newer one"
    );
    assert_eq!(state(&*catalog, beside).await, JobState::Frozen);
    assert_eq!(catalog.settled(&usual()).await, Ok(None));
    assert_eq!(lease_on(&*catalog, &work).await.owner, None);

    store(&*catalog, &candidate, b"a", "with_mask").await;
    let with = freeze(&*catalog, b"with it").await;
    let found = found_job(&*catalog, job).await;
    assert_eq!(found.state, JobState::Frozen);
    assert_eq!(
        (found.dataset, found.version),
        (Some(with.dataset), Some(2))
    );
    let found = found_job(&*catalog, beside).await;
    assert_eq!(found.version, Some(1), "nothing of it was opened");
}

/// It failed because nothing was left of it.
async fn a_failed_job_waits_for_a_reopened_candidate(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (job, candidate) = job_with_failed_candidate(&*catalog).await;
    catalog.finish_expansion(job).await.unwrap();
    fail(&*catalog, job).await;
    let reopened = [candidate.id];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    let found = found_job(&*catalog, job).await;
    assert_eq!((found.state, found.error), (JobState::Running, None));
    let freezing = lease_on(&*catalog, &Work::Freeze(usual())).await;
    assert_eq!(freezing.owner, None, "the job asks for it");
}

async fn a_plan_from_before_a_candidate_was_reopened_freezes_nothing(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (job, candidate) = job_with_failed_candidate(&*catalog).await;
    catalog.finish_expansion(job).await.unwrap();
    let before = settled(&*catalog, &usual()).await;
    let without = add_version(&*catalog, b"without it", &before).await;

    catalog
        .reopen_candidates(job, &[candidate.id])
        .await
        .unwrap();
    store(&*catalog, &candidate, b"a", "with_mask").await;
    catalog.freeze(job, &without, &before).await.unwrap();
    let failing = catalog.fail_settled(job, "nothing is left", &before);
    failing.await.unwrap();
    let found = found_job(&*catalog, job).await;
    assert_eq!((found.state, found.dataset), (JobState::Running, None));
    assert_eq!((found.version, found.error), (None, None));

    freeze(&*catalog, b"with it").await;
    let found = found_job(&*catalog, job).await;
    assert_eq!((found.state, found.version), (JobState::Frozen, Some(2)));
}

async fn a_holder_of_the_freezing_from_before_it_was_reopened_can_not_finish_it(
    environment: &Environment,
) {
    let catalog = environment.catalog().await;
    let (job, candidate) = job_with_failed_candidate(&*catalog).await;
    catalog.finish_expansion(job).await.unwrap();
    let work = Work::Freeze(usual());
    catalog.offer_work(&work).await.unwrap();
    freeze(&*catalog, b"without it").await;
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
    catalog.offer_work(&Work::Freeze(usual())).await.unwrap();
    let held = acquire(&*catalog, &Work::Freeze(usual()), "one").await;
    freeze(&*catalog, b"a").await;
    assert_eq!(catalog.finish_work(&held).await, Ok(true));

    let proof = settled(&*catalog, &usual()).await;
    let ended = [a.id, b.id, unknown.id];
    catalog.reopen_candidates(job, &ended).await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Frozen);
    assert_eq!(catalog.open_work("freeze").await, Ok(vec![]));
    assert_eq!(settled(&*catalog, &usual()).await, proof, "nothing changed");
}

async fn reopened_candidates_do_not_reopen_a_failed_expansion(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (job, candidate) = job_with_failed_candidate(&*catalog).await;
    catalog.fail_job(job, "the list was gone").await.unwrap();
    catalog
        .reopen_candidates(job, &[candidate.id])
        .await
        .unwrap();
    let found = found_job(&*catalog, job).await;
    assert_eq!((found.state, found.expanded), (JobState::Failed, false));
    assert_eq!(found.error.as_deref(), Some("the list was gone"));
    let found = candidate_state(&*catalog, candidate.id).await;
    assert_eq!(found, CandidateState::InFlight);
}

async fn a_freezing_that_nobody_asked_for_is_not_offered_again(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = Job {
        freeze: false,
        ..job()
    };
    records::create_job(&*catalog, &job).await;
    let [a, b, _] = candidates(job.id);
    for candidate in [&a, &b] {
        add(&*catalog, candidate).await;
        finish(&*catalog, candidate.id, failed()).await;
    }
    catalog.finish_expansion(job.id).await.unwrap();
    catalog.reopen_candidates(job.id, &[a.id]).await.unwrap();
    assert_eq!(catalog.open_work("freeze").await, Ok(vec![]));
    store(&*catalog, &a, b"a", "with_mask").await;

    // Now its images are in a version, which lacks the other one once that goes on.
    freeze(&*catalog, b"a").await;
    assert_eq!(state(&*catalog, job.id).await, JobState::Frozen);
    catalog.reopen_candidates(job.id, &[b.id]).await.unwrap();
    assert_eq!(state(&*catalog, job.id).await, JobState::Running);
    let freezing = lease_on(&*catalog, &Work::Freeze(usual())).await;
    assert_eq!(freezing.owner, None);
}

async fn a_job_is_frozen_once(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, other) = (expanded_job(&*catalog).await, expanded_job(&*catalog).await);
    let proof = settled(&*catalog, &usual()).await;
    let first = add_version(&*catalog, b"content", &proof).await;
    for _ in 0..2 {
        catalog.freeze(one, &first, &proof).await.unwrap();
    }
    let newer = add_version(&*catalog, b"more", &proof).await;
    for job in [one, other] {
        catalog.freeze(job, &newer, &proof).await.unwrap();
        let failing = catalog.fail_settled(job, "nothing is left", &proof);
        failing.await.unwrap();
    }
    for (job, version) in [(one, &first), (other, &newer)] {
        let found = found_job(&*catalog, job).await;
        assert_eq!((found.state, found.error), (JobState::Frozen, None));
        assert_eq!(
            (found.dataset, found.version),
            (Some(version.dataset), Some(version.number))
        );
    }
    let unknown = JobId::draw();
    let not_found = StorageError::not_found(format!("job {unknown}"));
    let frozen = catalog.freeze(unknown, &first, &proof).await;
    assert_eq!(frozen, Err(not_found));
}

async fn a_job_that_was_not_in_the_proof_is_not_frozen_by_it(environment: &Environment) {
    let catalog = environment.catalog().await;
    let one = expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    let version = add_version(&*catalog, b"a", &proof).await;
    let later = expanded_job(&*catalog).await;
    let elsewhere = Job {
        collection: named("masks"),
        ..job()
    };
    records::create_job(&*catalog, &elsewhere).await;
    catalog.finish_expansion(elsewhere.id).await.unwrap();
    for job in [one, later, elsewhere.id] {
        catalog.freeze(job, &version, &proof).await.unwrap();
    }
    assert_eq!(state(&*catalog, one).await, JobState::Frozen);
    for job in [later, elsewhere.id] {
        let failing = catalog.fail_settled(job, "nothing is left", &proof);
        failing.await.unwrap();
        let found = found_job(&*catalog, job).await;
        assert_eq!((found.state, found.version), (JobState::Running, None));
        assert_eq!(found.error, None);
    }
}

/// A process added the version, and then another source was enqueued.
async fn a_job_of_a_version_is_frozen_although_its_collection_was_opened_since(
    environment: &Environment,
) {
    let catalog = environment.catalog().await;
    let one = expanded_job(&*catalog).await;
    let proof = settled(&*catalog, &usual()).await;
    let version: Version = add_version(&*catalog, b"a", &proof).await;
    recorded_job(&*catalog).await;
    let late = next_dataset(&*catalog, b"b").await;
    assert_eq!(catalog.add_version(&late, &proof).await, Ok(None));
    catalog.freeze(one, &version, &proof).await.unwrap();
    let found = found_job(&*catalog, one).await;
    assert_eq!((found.state, found.version), (JobState::Frozen, Some(1)));
}
