//! What every catalog owes its callers, tried on each of them.
//!
//! MongoDB is the server at `MASKLINE_TEST_MONGODB`; every test has a database of
//! its own there and drops it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    panic::{AssertUnwindSafe, resume_unwind},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::join_all};
use maskline_messages::{
    CandidateId, DatasetId, Format, Hop, How, ImageId, JobId, Label, Labeling, Location,
    Measurements, NetworkName, Opinion, Reason, RunId, Source, TrainingSettings,
};
use maskline_storage::{
    Catalog, StorageError, catalog,
    lease::{HeldLease, LeaseWatch},
    records::{
        Books, CandidateState, Dataset, End, Ending, ImageDocument, Job, JobState, Lease, Model,
        NewCandidate, Run, RunState, SplitSettings, Work,
    },
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Where one test's catalog lives.
struct Place {
    url: String,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("data").join("catalog.db");
        Self {
            url: format!("sqlite:{}", file.display()),
            _folder: Some(folder),
        }
    }

    fn mongodb() -> Self {
        let server = std::env::var("MASKLINE_TEST_MONGODB")
            .expect("MASKLINE_TEST_MONGODB is not set: run tests/run");
        let mut url = url::Url::parse(&server).expect("MASKLINE_TEST_MONGODB is an address");
        url.set_path(&format!("maskline-test-{}", Uuid::new_v4().simple()));
        Self {
            url: url.into(),
            _folder: None,
        }
    }

    async fn open(&self) -> Arc<dyn Catalog> {
        catalog::open(&self.url).await.expect("the catalog opens")
    }

    async fn drop_database(&self) {
        let client = ::mongodb::Client::with_uri_str(&self.url).await;
        let client = client.expect("the test's own address");
        let database = client.default_database().expect("it names a database");
        database.drop().await.expect("the database is dropped");
    }
}

macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            use super::Place;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&Place::sqlite()).await;
                }
            )*
        }

        mod mongodb {
            use super::{AssertUnwindSafe, FutureExt, Place, resume_unwind};
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let place = Place::mongodb();
                    let outcome = AssertUnwindSafe(super::$test(&place)).catch_unwind().await;
                    place.drop_database().await;
                    if let Err(panic) = outcome {
                        resume_unwind(panic);
                    }
                }
            )*
        }
    };
}

contract! {
    a_job_is_recorded_once_and_as_it_is,
    jobs_come_newest_first,
    a_job_only_moves_forwards,
    a_failed_job_stays_failed,
    a_failed_expansion_is_gone_on_with_when_it_is_opened_again,
    candidates_are_recorded_once,
    a_large_batch_of_candidates_is_recorded,
    of_many_who_claim_an_image_one_wins,
    claims_of_different_jobs_do_not_meet,
    stored_and_rejected_are_for_good,
    a_failed_candidate_that_is_opened_again_ends_anew,
    a_frozen_job_waits_for_a_candidate_that_is_opened_again,
    what_was_planned_before_a_candidate_was_opened_again_freezes_nothing,
    who_held_the_freezing_before_it_was_opened_again_does_not_end_it,
    a_job_of_which_all_have_ended_for_good_stays_frozen,
    candidates_that_are_opened_again_do_not_mend_a_failed_expansion,
    an_ending_keeps_what_it_does_not_say,
    an_unknown_candidate_is_not_found,
    the_books_balance,
    the_books_are_those_of_the_candidates_whenever_one_looks,
    every_reason_comes_back_as_it_was,
    a_job_is_settled_when_it_is_running_and_nothing_is_in_flight,
    concurrent_endings_all_count,
    an_image_comes_back_as_it_was,
    an_image_of_a_megabyte_comes_back_as_it_was,
    image_bytes_come_in_the_order_asked_for,
    facts_are_of_stored_images_only,
    facts_name_the_labels_of_duplicates,
    facts_come_in_full_pages,
    candidates_come_in_pages,
    candidates_of_an_image_come_from_all_jobs,
    work_is_offered_once,
    of_many_who_take_a_lease_one_wins,
    a_lease_is_exchanged_only_as_it_was_seen,
    free_work_is_claimed_and_finished,
    released_and_dropped_work_is_free_again,
    a_living_holder_keeps_its_work,
    work_that_comes_on_all_the_time_is_renewed_no_less,
    dead_work_is_taken_over_and_its_holder_hears_of_it,
    holders_that_die_and_fail_are_counted_until_one_comes_on,
    a_dataset_is_frozen_once,
    runs_are_recorded_once_and_updated,
    a_failed_run_is_opened_again_as_if_nobody_had_begun_it,
    models_are_published,
    two_connections_see_each_other,
    a_killed_process_leaves_whole_books,
    it_answers_a_ping,
}

// Jobs

async fn a_job_is_recorded_once_and_as_it_is(place: &Place) {
    let catalog = place.open().await;
    let job = job();
    assert_eq!(catalog.job(job.id).await, Ok(None));
    catalog.create_job(&job).await.unwrap();
    let mut again = job.clone();
    again.created += 1;
    catalog.create_job(&again).await.unwrap();
    assert_eq!(catalog.job(job.id).await, Ok(Some(job)));
}

async fn jobs_come_newest_first(place: &Place) {
    let catalog = place.open().await;
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

async fn a_job_only_moves_forwards(place: &Place) {
    let catalog = place.open().await;
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

async fn a_failed_job_stays_failed(place: &Place) {
    let catalog = place.open().await;
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
    let not_found = Err(StorageError::NotFound(format!("job {unknown}")));
    assert_eq!(catalog.fail_job(unknown, "why").await, not_found);
    assert_eq!(catalog.finish_expansion(unknown).await, not_found);
}

async fn a_failed_expansion_is_gone_on_with_when_it_is_opened_again(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    catalog.reopen_expansion(job, "letter").await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Expanding);
    catalog.fail_job(job, "the list was gone").await.unwrap();
    for _ in 0..2 {
        catalog.reopen_expansion(job, "letter").await.unwrap();
        let found = catalog.job(job).await.unwrap().unwrap();
        assert_eq!((found.state, found.error), (JobState::Expanding, None));
        assert_eq!(found.replayed.as_deref(), Some("letter"));
    }
    catalog.finish_expansion(job).await.unwrap();
    catalog.offer_work(&Work::Freeze(job)).await.unwrap();
    catalog.reopen_expansion(job, "letter").await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Running);

    // It failed for another reason: there is nothing more to expand.
    fail(&*catalog, job).await;
    catalog.reopen_expansion(job, "letter").await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Failed);

    let unknown = JobId::draw();
    let not_found = Err(StorageError::NotFound(format!("job {unknown}")));
    assert_eq!(catalog.reopen_expansion(unknown, "letter").await, not_found);
}

// Candidates

async fn candidates_are_recorded_once(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let [a, b, c] = candidates(job);
    catalog
        .add_candidates(&[a.clone(), b.clone()])
        .await
        .unwrap();
    store(&*catalog, &a, b"a", "with_mask").await;
    // The same again, one of them ended by now, one twice, and one new.
    let again = [c.clone(), a.clone(), b.clone(), c.clone()];
    catalog.add_candidates(&again).await.unwrap();
    catalog.add_candidates(&[]).await.unwrap();

    assert_eq!(catalog.counts(job).await.unwrap().found, 3);
    let found = catalog.candidate(a.id).await.unwrap().unwrap();
    assert_eq!(found.state, CandidateState::Stored);
    let found = catalog.candidate(c.id).await.unwrap().unwrap();
    assert_eq!(found.state, CandidateState::InFlight);
    assert_eq!(
        (found.id, found.job, found.location, found.label),
        (c.id, c.job, c.location, c.label)
    );
    assert_eq!((found.image, found.history), (None, vec![]));
    let unknown = candidate(JobId::draw(), 1).id;
    assert_eq!(catalog.candidate(unknown).await, Ok(None));
}

async fn a_large_batch_of_candidates_is_recorded(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let many: Vec<_> = (0..3_000).map(|number| candidate(job, number)).collect();
    catalog.add_candidates(&many).await.unwrap();
    catalog.add_candidates(&many[1_000..]).await.unwrap();
    let books = catalog.counts(job).await.unwrap();
    assert_eq!((books.found, books.in_flight), (3_000, 3_000));
}

async fn of_many_who_claim_an_image_one_wins(place: &Place) {
    let (one, other) = (place.open().await, place.open().await);
    let job = recorded_job(&*one).await;
    let image = ImageId::of(b"the same bytes");
    let claims = (0..40).map(|number| {
        let catalog = if number % 2 == 0 { &one } else { &other };
        let (catalog, candidate) = (catalog.clone(), candidate(job, number).id);
        tokio::spawn(async move { catalog.claim_image(job, &image, candidate).await.unwrap() })
    });
    let owners: BTreeSet<CandidateId> = join_all(claims).await.into_iter().flatten().collect();
    assert_eq!(owners.len(), 1, "{owners:?}");
    let late = candidate(job, 1_000).id;
    let owner = one.claim_image(job, &image, late).await.unwrap();
    assert_eq!(Some(&owner), owners.first());
    assert_eq!(one.claim_image(job, &image, owner).await, Ok(owner));
}

async fn claims_of_different_jobs_do_not_meet(place: &Place) {
    let catalog = place.open().await;
    let (one, other) = (candidate(JobId::draw(), 1), candidate(JobId::draw(), 1));
    let image = ImageId::of(b"bytes");
    for candidate in [one, other] {
        let owner = catalog
            .claim_image(candidate.job, &image, candidate.id)
            .await;
        assert_eq!(owner, Ok(candidate.id));
    }
}

async fn stored_and_rejected_are_for_good(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let [a, b, _] = candidates(job);
    catalog
        .add_candidates(&[a.clone(), b.clone()])
        .await
        .unwrap();
    store(&*catalog, &a, b"a", "with_mask").await;
    end(&*catalog, b.id, rejected(Reason::Empty)).await;
    let before = [
        catalog.candidate(a.id).await.unwrap(),
        catalog.candidate(b.id).await.unwrap(),
    ];
    for late in [failed(), rejected(Reason::NoLabel), End::Stored] {
        for candidate in [&a, &b] {
            let mut ending = ending(candidate.id, late.clone());
            ending.image = Some(ImageId::of(b"another"));
            let found = catalog.finish_candidate(&ending).await.unwrap();
            let expected = match candidate.id == a.id {
                true => CandidateState::Stored,
                false => CandidateState::Rejected,
            };
            assert_eq!(found, expected, "it says how it ended before");
        }
    }
    catalog.reopen_candidates(job, &[a.id, b.id]).await.unwrap();
    let after = [
        catalog.candidate(a.id).await.unwrap(),
        catalog.candidate(b.id).await.unwrap(),
    ];
    assert_eq!(before, after);
}

async fn a_failed_candidate_that_is_opened_again_ends_anew(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let [a, b, c] = candidates(job);
    let all = [a.clone(), b.clone(), c.clone()];
    catalog.add_candidates(&all).await.unwrap();
    for candidate in &all {
        end(&*catalog, candidate.id, failed()).await;
    }
    let found = catalog.candidate(a.id).await.unwrap().unwrap();
    assert_eq!(found.state, CandidateState::Failed);
    assert_eq!(found.stage.as_deref(), Some("validator"));
    assert_eq!(found.error.as_deref(), Some("the disk is full"));

    let later = End::Failed {
        stage: "labeler".to_owned(),
        error: "later".to_owned(),
    };
    for late in [End::Stored, rejected(Reason::Empty), later] {
        let found = catalog.finish_candidate(&ending(c.id, late)).await;
        assert_eq!(found, Ok(CandidateState::Failed), "for a person to decide");
    }
    for _ in 0..2 {
        let (reopened, job) = ([a.id, b.id], job);
        catalog.reopen_candidates(job, &reopened).await.unwrap();
    }
    let books = catalog.counts(job).await.unwrap();
    assert_eq!((books.in_flight, books.failed), (2, 1));
    let found = catalog.candidate(a.id).await.unwrap().unwrap();
    assert_eq!((found.stage, found.error), (None, None));
    end(&*catalog, a.id, End::Stored).await;
    end(&*catalog, b.id, rejected(Reason::Empty)).await;

    let found = catalog.candidate(a.id).await.unwrap().unwrap();
    assert_eq!(found.state, CandidateState::Stored);
    assert_eq!((found.stage, found.error), (None, None));
    let found = catalog.candidate(b.id).await.unwrap().unwrap();
    assert_eq!(found.state, CandidateState::Rejected);
    assert_eq!((found.reason, found.error), (Some(Reason::Empty), None));
    let found = catalog.candidate(c.id).await.unwrap().unwrap();
    assert_eq!(found.error.as_deref(), Some("the disk is full"));
}

/// A job that was frozen without its only candidate, which failed.
async fn frozen_without(catalog: &dyn Catalog) -> (JobId, NewCandidate, Dataset) {
    let job = recorded_job(catalog).await;
    let [candidate, ..] = candidates(job);
    catalog
        .add_candidates(std::slice::from_ref(&candidate))
        .await
        .unwrap();
    end(catalog, candidate.id, failed()).await;
    catalog.finish_expansion(job).await.unwrap();
    catalog.offer_work(&Work::Freeze(job)).await.unwrap();
    let dataset = dataset(job, b"without it");
    freeze(catalog, job, &dataset).await;
    (job, candidate, dataset)
}

async fn a_frozen_job_waits_for_a_candidate_that_is_opened_again(place: &Place) {
    let catalog = place.open().await;
    let (job, candidate, without) = frozen_without(&*catalog).await;
    let work = Work::Freeze(job);
    let held = take(&*catalog, &work, "one").await;
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

    // And so does one that had failed, because nothing was left of it.
    let job = expanded_job(&*catalog).await;
    let [candidate, ..] = candidates(job);
    catalog
        .add_candidates(std::slice::from_ref(&candidate))
        .await
        .unwrap();
    end(&*catalog, candidate.id, failed()).await;
    fail(&*catalog, job).await;
    let reopened = [candidate.id];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    let found = catalog.job(job).await.unwrap().unwrap();
    assert_eq!((found.state, found.error), (JobState::Running, None));
}

async fn what_was_planned_before_a_candidate_was_opened_again_freezes_nothing(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let [candidate, ..] = candidates(job);
    catalog
        .add_candidates(std::slice::from_ref(&candidate))
        .await
        .unwrap();
    end(&*catalog, candidate.id, failed()).await;
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

async fn who_held_the_freezing_before_it_was_opened_again_does_not_end_it(place: &Place) {
    let catalog = place.open().await;
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

async fn a_job_of_which_all_have_ended_for_good_stays_frozen(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let [a, b, unknown] = candidates(job);
    catalog
        .add_candidates(&[a.clone(), b.clone()])
        .await
        .unwrap();
    store(&*catalog, &a, b"a", "with_mask").await;
    end(&*catalog, b.id, rejected(Reason::Empty)).await;
    catalog.finish_expansion(job).await.unwrap();
    catalog.offer_work(&Work::Freeze(job)).await.unwrap();
    let held = take(&*catalog, &Work::Freeze(job), "one").await;
    freeze(&*catalog, job, &dataset(job, b"a")).await;
    assert_eq!(catalog.finish_work(&held).await, Ok(true));

    let ended = [a.id, b.id, unknown.id];
    catalog.reopen_candidates(job, &ended).await.unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Frozen);
    assert_eq!(catalog.open_work("freeze").await, Ok(vec![]));
}

async fn candidates_that_are_opened_again_do_not_mend_a_failed_expansion(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let [candidate, ..] = candidates(job);
    catalog
        .add_candidates(std::slice::from_ref(&candidate))
        .await
        .unwrap();
    end(&*catalog, candidate.id, failed()).await;
    catalog.fail_job(job, "the list was gone").await.unwrap();
    catalog
        .reopen_candidates(job, &[candidate.id])
        .await
        .unwrap();
    assert_eq!(state(&*catalog, job).await, JobState::Failed);
    let found = catalog.candidate(candidate.id).await.unwrap().unwrap();
    assert_eq!(found.state, CandidateState::InFlight);
}

async fn an_ending_keeps_what_it_does_not_say(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let candidate = candidate(job, 1);
    catalog
        .add_candidates(std::slice::from_ref(&candidate))
        .await
        .unwrap();
    let image = ImageId::of(b"bytes");
    let first = Ending {
        image: Some(image),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        ..ending(candidate.id, failed())
    };
    catalog.finish_candidate(&first).await.unwrap();
    let reopened = [candidate.id];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    let history = vec![Hop::now("validator"), Hop::now("storer")];
    let second = Ending {
        image: None,
        trace_id: None,
        history: history.clone(),
        ..ending(candidate.id, rejected(Reason::Empty))
    };
    catalog.finish_candidate(&second).await.unwrap();
    let found = catalog.candidate(candidate.id).await.unwrap().unwrap();
    assert_eq!(found.image, Some(image));
    assert_eq!(found.trace_id, first.trace_id);
    assert_eq!(found.history, history);
    assert_eq!(found.label, candidate.label);
    assert_eq!(found.location, candidate.location);
}

async fn an_unknown_candidate_is_not_found(place: &Place) {
    let catalog = place.open().await;
    let unknown = candidate(JobId::draw(), 1).id;
    for end in [End::Stored, rejected(Reason::Empty), failed()] {
        let outcome = catalog.finish_candidate(&ending(unknown, end)).await;
        let not_found = StorageError::NotFound(format!("candidate {unknown}"));
        assert_eq!(outcome, Err(not_found));
    }
    assert_eq!(catalog.candidate(unknown).await, Ok(None));
}

async fn the_books_balance(place: &Place) {
    let catalog = place.open().await;
    let (job, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let all: Vec<_> = (0..10).map(|number| candidate(job, number)).collect();
    catalog.add_candidates(&all).await.unwrap();
    catalog.add_candidates(&candidates(other)).await.unwrap();
    let ends = [
        End::Stored,
        End::Stored,
        rejected(Reason::Empty),
        rejected(Reason::HttpStatus { status: 404 }),
        rejected(Reason::HttpStatus { status: 410 }),
        failed(),
    ];
    for (candidate, how) in all.iter().zip(ends) {
        end(&*catalog, candidate.id, how).await;
    }
    let expected = Books {
        found: 10,
        stored: 2,
        rejected: 3,
        failed: 1,
        in_flight: 4,
        rejected_by_reason: BTreeMap::from([
            ("empty".to_owned(), 1),
            ("http_status".to_owned(), 2),
        ]),
    };
    assert_eq!(catalog.counts(job).await, Ok(expected));
    let empty = Books::default();
    assert_eq!(catalog.counts(JobId::draw()).await, Ok(empty));
}

async fn the_books_are_those_of_the_candidates_whenever_one_looks(place: &Place) {
    let (one, other) = (place.open().await, place.open().await);
    let job = recorded_job(&*one).await;
    let all: Vec<_> = (0..60).map(|number| candidate(job, number)).collect();
    let walked = CancellationToken::new();
    let looking = {
        let (walked, catalog) = (walked.clone(), one.clone());
        tokio::spawn(async move {
            while !walked.is_cancelled() {
                catalog.counts(job).await.unwrap();
            }
        })
    };
    for round in 0..3 {
        for batch in all.chunks(20) {
            // Half of a batch before the whole, as where whoever recorded it died.
            one.add_candidates(&batch[..10]).await.unwrap();
            for (number, candidate) in batch[..10].iter().enumerate() {
                let how = match number % 3 {
                    0 => End::Stored,
                    1 => rejected(Reason::Empty),
                    _ => failed(),
                };
                end(&*other, candidate.id, how).await;
            }
            assert_eq!(one.counts(job).await, Ok(counted(&*one, job).await));
            other.add_candidates(batch).await.unwrap();
            assert_eq!(one.counts(job).await, Ok(counted(&*one, job).await));
            let late = batch[10..].iter().map(|c| end(&*other, c.id, failed()));
            join_all(late).await;
            assert_eq!(other.counts(job).await, Ok(counted(&*one, job).await));
            // All that failed comes back but what failed last.
            let ids: Vec<_> = batch[..15 + round].iter().map(|c| c.id).collect();
            other.reopen_candidates(job, &ids).await.unwrap();
            assert_eq!(one.counts(job).await, Ok(counted(&*one, job).await));
        }
    }
    walked.cancel();
    looking.await.unwrap();
    let books = one.counts(job).await.unwrap();
    assert_eq!((books.found, books.stored, books.rejected), (60, 12, 9));
    assert!(books.failed > 0, "{books:?}");
}

/// The books, by a look at each candidate.
async fn counted(catalog: &dyn Catalog, job: JobId) -> Books {
    let mut books = Books::default();
    for state in [
        CandidateState::InFlight,
        CandidateState::Stored,
        CandidateState::Rejected,
        CandidateState::Failed,
    ] {
        let found = catalog.candidates_in(job, state, None, 1_000).await;
        for candidate in found.unwrap() {
            books.count(state, candidate.reason.as_ref().map(Reason::code), 1);
        }
    }
    books
}

async fn every_reason_comes_back_as_it_was(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let reasons = [
        Reason::TooManyBytes {
            bytes: 5_000_000_000,
            most: 20_000_000,
        },
        Reason::Blank {
            deviation: 0.001_234_5,
            least: 0.02,
        },
        Reason::ExactDuplicate {
            of: candidate(job, 7).id,
        },
        Reason::UnknownLabel {
            label: label("böse"),
            known: vec![label("with_mask"), label("without_mask")],
        },
        Reason::BadSourceLine {
            line: 3,
            text: "$no.url{\"".to_owned(),
            problem: "not a URL".to_owned(),
        },
    ];
    for (number, reason) in reasons.into_iter().enumerate() {
        let candidate = candidate(job, number);
        catalog
            .add_candidates(std::slice::from_ref(&candidate))
            .await
            .unwrap();
        end(&*catalog, candidate.id, rejected(reason.clone())).await;
        let found = catalog.candidate(candidate.id).await.unwrap().unwrap();
        assert_eq!(found.reason, Some(reason));
        assert_eq!(found.stage.as_deref(), Some("validator"));
    }
}

async fn a_job_is_settled_when_it_is_running_and_nothing_is_in_flight(place: &Place) {
    let catalog = place.open().await;
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
    end(&*catalog, a.id, End::Stored).await;
    assert!(!settled(job).await, "one is in flight");
    end(&*catalog, b.id, failed()).await;
    assert!(settled(job).await);
    freeze(&*catalog, job, &dataset(job, b"a")).await;
    assert!(!settled(job).await, "it is frozen already");

    let empty = recorded_job(&*catalog).await;
    catalog.finish_expansion(empty).await.unwrap();
    assert!(settled(empty).await, "nothing was found in it");
    assert!(!settled(JobId::draw()).await, "there is no such job");
}

async fn concurrent_endings_all_count(place: &Place) {
    let (one, other) = (place.open().await, place.open().await);
    let job = recorded_job(&*one).await;
    let all: Vec<_> = (0..200).map(|number| candidate(job, number)).collect();
    one.add_candidates(&all).await.unwrap();
    let endings = all.iter().enumerate().map(|(number, candidate)| {
        let catalog = if number % 2 == 0 { &one } else { &other };
        let (catalog, ending) = (catalog.clone(), ending(candidate.id, End::Stored));
        tokio::spawn(async move { catalog.finish_candidate(&ending).await.unwrap() })
    });
    for ended in join_all(endings).await {
        ended.unwrap();
    }
    let books = one.counts(job).await.unwrap();
    assert_eq!((books.stored, books.in_flight), (200, 0));
}

// Images

async fn an_image_comes_back_as_it_was(place: &Place) {
    let catalog = place.open().await;
    let candidate = candidate(recorded_job(&*catalog).await, 1);
    let mut document = image(&candidate, b"bytes", "with_mask");
    catalog.put_image(&document).await.unwrap();
    let found = catalog.image(document.job, &document.image).await;
    assert_eq!(found, Ok(Some(document.clone())));

    document.label = label("without_mask");
    document.binary = Bytes::from_static(b"other pixels");
    document.opinion = None;
    catalog.put_image(&document).await.unwrap();
    let found = catalog.image(document.job, &document.image).await;
    assert_eq!(found, Ok(Some(document.clone())));
    let absent = catalog.image(JobId::draw(), &document.image).await;
    assert_eq!(absent, Ok(None));
}

async fn an_image_of_a_megabyte_comes_back_as_it_was(place: &Place) {
    let catalog = place.open().await;
    let candidate = candidate(recorded_job(&*catalog).await, 1);
    let mut document = image(&candidate, b"bytes", "with_mask");
    let noise = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    document.binary = noise.collect::<Vec<u8>>().into();
    catalog.put_image(&document).await.unwrap();
    let bytes = catalog.image_bytes(document.job, &[document.image]).await;
    assert_eq!(bytes, Ok(vec![document.binary]));
}

async fn image_bytes_come_in_the_order_asked_for(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let images: Vec<_> = (0..10)
        .map(|number| image(&candidate(job, number), format!("{number}").as_bytes(), "a"))
        .collect();
    for image in &images {
        catalog.put_image(image).await.unwrap();
    }
    let asked = [7, 2, 9, 2];
    let ids: Vec<_> = asked.iter().map(|&n: &usize| images[n].image).collect();
    let expected: Vec<_> = asked.iter().map(|&n| images[n].binary.clone()).collect();
    assert_eq!(catalog.image_bytes(job, &ids).await, Ok(expected));
    assert_eq!(catalog.image_bytes(job, &[]).await, Ok(vec![]));

    let absent = ImageId::of(b"absent");
    let missing = catalog.image_bytes(job, &[ids[0], absent]).await;
    let not_found = StorageError::NotFound(format!("image {absent} of job {job}"));
    assert_eq!(missing, Err(not_found));
}

async fn facts_are_of_stored_images_only(place: &Place) {
    let catalog = place.open().await;
    let (job, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let [a, b, c] = candidates(job);
    let [d, ..] = candidates(other);
    let all = [a.clone(), b.clone(), c.clone(), d.clone()];
    catalog.add_candidates(&all).await.unwrap();
    let stored = store(&*catalog, &a, b"a", "with_mask").await;
    // Its document was written, and then the storer gave up.
    catalog.put_image(&image(&b, b"b", "a")).await.unwrap();
    end(&*catalog, b.id, failed()).await;
    // Its document was written, and it has not ended yet.
    catalog.put_image(&image(&c, b"c", "a")).await.unwrap();
    store(&*catalog, &d, b"d", "with_mask").await;

    let facts = catalog.image_facts(job, None, 100).await.unwrap();
    assert_eq!(facts.len(), 1, "{facts:?}");
    let fact = &facts[0];
    assert_eq!((fact.image, &fact.label), (stored.image, &stored.label));
    assert_eq!((fact.width, fact.height), (stored.width, stored.height));
    assert_eq!(fact.phash, stored.measurements.phash);
    assert_eq!(fact.phash_mirrored, stored.measurements.phash_mirrored);
    assert_eq!(fact.conflicting, []);
}

async fn facts_name_the_labels_of_duplicates(place: &Place) {
    let catalog = place.open().await;
    let (job, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let first = labelled(candidate(job, 0), "with_mask");
    let elsewhere = labelled(candidate(other, 0), "elsewhere");
    let duplicates = [
        labelled(candidate(job, 1), "without_mask"),
        labelled(candidate(job, 2), "with_mask"),
        labelled(candidate(job, 3), "incorrect"),
        labelled(candidate(job, 4), "without_mask"),
        NewCandidate {
            label: None,
            ..candidate(job, 5)
        },
    ];
    catalog
        .add_candidates(&[first.clone(), elsewhere.clone()])
        .await
        .unwrap();
    catalog.add_candidates(&duplicates).await.unwrap();
    let stored = store(&*catalog, &first, b"same", "with_mask").await;
    store(&*catalog, &elsewhere, b"same", "elsewhere").await;
    for duplicate in &duplicates {
        let ending = Ending {
            image: Some(stored.image),
            ..ending(
                duplicate.id,
                rejected(Reason::ExactDuplicate { of: first.id }),
            )
        };
        catalog.finish_candidate(&ending).await.unwrap();
    }
    let facts = catalog.image_facts(job, None, 10).await.unwrap();
    assert_eq!(facts.len(), 1);
    let conflicting = [label("incorrect"), label("without_mask")];
    assert_eq!(facts[0].conflicting, conflicting);
}

async fn facts_come_in_full_pages(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let all: Vec<_> = (0..30).map(|number| candidate(job, number)).collect();
    catalog.add_candidates(&all).await.unwrap();
    let mut stored = BTreeSet::new();
    for (number, candidate) in all.iter().enumerate() {
        let bytes = number.to_be_bytes();
        if number % 3 == 0 {
            let gap = image(candidate, &bytes, "a");
            catalog.put_image(&gap).await.unwrap();
            end(&*catalog, candidate.id, failed()).await;
        } else {
            stored.insert(store(&*catalog, candidate, &bytes, "a").await.image);
        }
    }
    let mut found: Vec<ImageId> = vec![];
    let mut pages = vec![];
    loop {
        let facts = catalog.image_facts(job, found.last(), 8).await.unwrap();
        pages.push(facts.len());
        if facts.is_empty() {
            break;
        }
        found.extend(facts.iter().map(|fact| fact.image));
    }
    assert_eq!(pages, [8, 8, 4, 0]);
    assert!(found.iter().eq(&stored), "each once, sorted");
}

async fn candidates_come_in_pages(place: &Place) {
    let catalog = place.open().await;
    let job = recorded_job(&*catalog).await;
    let all: Vec<_> = (0..25).map(|number| candidate(job, number)).collect();
    catalog.add_candidates(&all).await.unwrap();
    catalog
        .add_candidates(&candidates(JobId::draw()))
        .await
        .unwrap();
    let mut rejects = BTreeSet::new();
    for candidate in &all[..20] {
        end(&*catalog, candidate.id, rejected(Reason::Empty)).await;
        rejects.insert(candidate.id);
    }
    let mut found: Vec<CandidateId> = vec![];
    let mut pages = vec![];
    loop {
        let page = catalog
            .candidates_in(job, CandidateState::Rejected, found.last().copied(), 8)
            .await
            .unwrap();
        pages.push(page.len());
        if page.is_empty() {
            break;
        }
        found.extend(page.iter().map(|candidate| candidate.id));
    }
    assert_eq!(pages, [8, 8, 4, 0]);
    assert!(found.iter().eq(&rejects), "each once, by id");
    let in_flight = catalog
        .candidates_in(job, CandidateState::InFlight, None, 100)
        .await
        .unwrap();
    assert_eq!(in_flight.len(), 5);
}

async fn candidates_of_an_image_come_from_all_jobs(place: &Place) {
    let catalog = place.open().await;
    let mut expected = BTreeSet::new();
    let image = ImageId::of(b"bytes");
    for _ in 0..2 {
        let [a, b, _] = candidates(recorded_job(&*catalog).await);
        catalog
            .add_candidates(&[a.clone(), b.clone()])
            .await
            .unwrap();
        let ending = Ending {
            image: Some(image),
            ..ending(a.id, rejected(Reason::NoLabel))
        };
        catalog.finish_candidate(&ending).await.unwrap();
        end(&*catalog, b.id, rejected(Reason::Empty)).await;
        expected.insert(a.id);
    }
    let found = catalog.candidates_of(&image).await.unwrap();
    let found: BTreeSet<_> = found.iter().map(|candidate| candidate.id).collect();
    assert_eq!(found, expected);
    let none = catalog.candidates_of(&ImageId::of(b"other")).await;
    assert_eq!(none, Ok(vec![]));
}

// Leases

async fn work_is_offered_once(place: &Place) {
    let catalog = place.open().await;
    let (work, done) = (freezing(), freezing());
    let training = Work::Train(run(1).id);
    for work in [&work, &done, &training] {
        catalog.offer_work(work).await.unwrap();
    }
    let seen = lease_on(&*catalog, &work).await;
    assert_eq!((&seen.work, &seen.owner), (&work, &None));
    let held = catalog.acquire_lease(&seen, "a").await.unwrap().unwrap();
    let ended = take(&*catalog, &done, "a").await;
    assert_eq!(catalog.finish_work(&ended).await, Ok(true));
    assert_eq!(
        catalog.finish_work(&ended).await,
        Ok(false),
        "nobody holds it"
    );
    for work in [&work, &done] {
        catalog.offer_work(work).await.unwrap();
    }
    let open = catalog.open_work("freeze").await;
    assert_eq!(open, Ok(vec![held]), "one is held, one is done");
    let open = catalog.open_work("train").await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].work, training);
}

async fn of_many_who_take_a_lease_one_wins(place: &Place) {
    let (one, other) = (place.open().await, place.open().await);
    let work = freezing();
    one.offer_work(&work).await.unwrap();
    let seen = lease_on(&*one, &work).await;
    let takers = (0..20).map(|number| {
        let catalog = if number % 2 == 0 { &one } else { &other };
        let (catalog, seen) = (catalog.clone(), seen.clone());
        tokio::spawn(async move {
            catalog
                .acquire_lease(&seen, &format!("{number}"))
                .await
                .unwrap()
        })
    });
    let outcomes = join_all(takers).await;
    let taken: Vec<Lease> = outcomes.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(one.open_work("freeze").await, Ok(taken));
}

async fn a_lease_is_exchanged_only_as_it_was_seen(place: &Place) {
    let catalog = place.open().await;
    let work = freezing();
    catalog.offer_work(&work).await.unwrap();
    let free = lease_on(&*catalog, &work).await;
    let first = catalog.acquire_lease(&free, "a").await.unwrap().unwrap();
    assert_eq!(first.owner.as_deref(), Some("a"));
    assert_eq!(
        catalog.acquire_lease(&free, "b").await,
        Ok(None),
        "taken by now"
    );

    let second = catalog.renew_lease(&first).await.unwrap().unwrap();
    assert_eq!(second.owner, first.owner);
    assert!(second.beat > first.beat);
    assert_eq!(catalog.renew_lease(&first).await, Ok(None), "an old beat");
    assert_eq!(
        catalog.acquire_lease(&first, "b").await,
        Ok(None),
        "it lives"
    );
    catalog.release_lease(&first).await.unwrap();
    assert_eq!(lease_on(&*catalog, &work).await, second, "an old beat");

    let third = catalog.acquire_lease(&second, "b").await.unwrap().unwrap();
    assert_eq!(catalog.renew_lease(&second).await, Ok(None), "taken over");
    catalog.release_lease(&second).await.unwrap();
    assert_eq!(lease_on(&*catalog, &work).await, third);

    catalog.release_lease(&third).await.unwrap();
    let free = lease_on(&*catalog, &work).await;
    assert_eq!(free.owner, None);
    let fourth = catalog.acquire_lease(&free, "a").await.unwrap().unwrap();
    assert_eq!(catalog.finish_work(&third).await, Ok(false), "an old beat");
    assert_eq!(catalog.finish_work(&fourth).await, Ok(true));
    assert_eq!(catalog.renew_lease(&fourth).await, Ok(None), "done");
    assert_eq!(catalog.acquire_lease(&fourth, "b").await, Ok(None), "done");
    assert_eq!(catalog.open_work("freeze").await, Ok(vec![]));
}

async fn free_work_is_claimed_and_finished(place: &Place) {
    let catalog = place.open().await;
    let watch = LeaseWatch::new(catalog.clone());
    let none = watch.claim_any("freeze", "a").await.unwrap();
    assert!(none.is_none(), "nothing was offered");
    let work = freezing();
    catalog.offer_work(&work).await.unwrap();
    let held = watch.claim_any("freeze", "a").await.unwrap();
    let held = held.expect("it is free");
    assert_eq!(held.work(), &work);
    assert!(!held.lost_token().is_cancelled());
    let another = LeaseWatch::new(catalog.clone());
    let none = another.claim_any("freeze", "b").await.unwrap();
    assert!(none.is_none(), "it is held");
    held.finish().await.unwrap();
    assert_eq!(catalog.open_work("freeze").await, Ok(vec![]));
}

async fn released_and_dropped_work_is_free_again(place: &Place) {
    let catalog = place.open().await;
    let watch = LeaseWatch::new(catalog.clone());
    let work = freezing();
    catalog.offer_work(&work).await.unwrap();
    let held = watch.claim_any("freeze", "a").await.unwrap();
    held.expect("it is free").release().await.unwrap();
    assert_eq!(lease_on(&*catalog, &work).await.owner, None);

    let held = watch.claim_any("freeze", "b").await.unwrap();
    drop(held.expect("it was given back"));
    until(async || lease_on(&*catalog, &work).await.owner.is_none()).await;
}

async fn a_living_holder_keeps_its_work(place: &Place) {
    let catalog = place.open().await;
    let work = freezing();
    catalog.offer_work(&work).await.unwrap();
    // Renewed every 100 ms, and watched by one who is patient for a minute.
    let holder = LeaseWatch::lasting(catalog.clone(), Duration::from_millis(300));
    let held = holder.claim_any("freeze", "a").await.unwrap();
    let held = held.expect("it is free");
    let beat = async || lease_on(&*catalog, &work).await.beat;
    let first = beat().await;
    until(async || beat().await >= first + 3).await;
    let watch = LeaseWatch::lasting(catalog.clone(), Duration::from_secs(60));
    for _ in 0..10 {
        let seen = lease_on(&*catalog, &work).await;
        assert_eq!(seen.owner.as_deref(), Some("a"));
        assert!(watch.claim(&seen, "b").await.unwrap().is_none());
    }
    assert!(!held.lost_token().is_cancelled());
    held.finish().await.unwrap();
}

async fn work_that_comes_on_all_the_time_is_renewed_no_less(place: &Place) {
    let catalog = place.open().await;
    // Renewed every 500 ms.
    let holder = LeaseWatch::lasting(catalog.clone(), Duration::from_millis(1_500));
    let hold = async || {
        catalog.offer_work(&freezing()).await.unwrap();
        let held = holder.claim_any("freeze", "a").await.unwrap();
        held.expect("one is free")
    };
    let (busy, still) = (hold().await, hold().await);
    let progress = busy.progress();
    let coming_on = tokio::spawn(async move {
        loop {
            progress.made();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let beat = async |held: &HeldLease| lease_on(&*catalog, held.work()).await.beat;
    let (of_busy, of_still) = (beat(&busy).await, beat(&still).await);
    until(async || beat(&still).await >= of_still + 6).await;
    let beats = beat(&busy).await - of_busy;
    assert!(beats >= 4, "{beats} beats in the time of six");
    coming_on.abort();
    for held in [busy, still] {
        held.finish().await.unwrap();
    }
}

async fn dead_work_is_taken_over_and_its_holder_hears_of_it(place: &Place) {
    let catalog = place.open().await;
    let work = freezing();
    catalog.offer_work(&work).await.unwrap();
    // It renews every second, which is dead to a watch that waits for 10 ms.
    let slow = LeaseWatch::lasting(catalog.clone(), Duration::from_secs(3));
    let held = slow.claim_any("freeze", "slow").await.unwrap();
    let held = held.expect("it is free");
    let hasty = LeaseWatch::lasting(catalog.clone(), Duration::from_millis(10));
    until(async || {
        let taken = hasty.claim_any("freeze", "hasty").await;
        taken.unwrap().is_some()
    })
    .await;
    held.lost().await;
    let refused = held.finish().await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    let open = catalog.open_work("freeze").await.unwrap();
    assert_eq!(open.len(), 1, "the loser can't end it");
    assert_ne!(open[0].owner.as_deref(), Some("slow"));
}

async fn holders_that_die_and_fail_are_counted_until_one_comes_on(place: &Place) {
    let catalog = place.open().await;
    let work = Work::Train(run(1).id);
    catalog.offer_work(&work).await.unwrap();
    let failures = async || lease_on(&*catalog, &work).await.failures;
    let claim = async || {
        let claimed = LeaseWatch::new(catalog.clone())
            .claim_any("train", "a")
            .await;
        claimed.unwrap().expect("it is free")
    };
    let first = take(&*catalog, &work, "one").await;
    assert_eq!(first.failures, 0);
    let first = take(&*catalog, &work, "one").await;
    assert_eq!(first.failures, 0, "it was cut off, and has it back");
    let second = take(&*catalog, &work, "two").await;
    assert_eq!(second.failures, 1, "one died");
    let third = take(&*catalog, &work, "three").await;
    assert_eq!(third.failures, 2, "two died");
    catalog.release_lease(&third).await.unwrap();
    assert_eq!(failures().await, 2, "giving it back is no failure");

    let held = claim().await;
    assert_eq!(held.failures(), 2);
    held.fail().await.unwrap();
    assert_eq!(failures().await, 3);

    let held = claim().await;
    held.progress().made();
    assert_eq!(held.failures(), 0);
    until(async || failures().await == 0).await;
    held.fail().await.unwrap();
    assert_eq!(failures().await, 1, "the first since it came on");
}

// Datasets, runs, models

async fn a_dataset_is_frozen_once(place: &Place) {
    let catalog = place.open().await;
    let (one, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    catalog.finish_expansion(one).await.unwrap();
    catalog.finish_expansion(other).await.unwrap();
    let first = dataset(one, b"content");
    let of_one = catalog.settled(one).await.unwrap().expect("it is settled");
    catalog.freeze(one, &first, of_one).await.unwrap();
    catalog.freeze(one, &first, of_one).await.unwrap();
    // Another job with the same images comes to the same dataset.
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
    let not_found = StorageError::NotFound(format!("job {unknown}"));
    let frozen = catalog.freeze(unknown, &first, of_one).await;
    assert_eq!(frozen, Err(not_found));
}

async fn runs_are_recorded_once_and_updated(place: &Place) {
    let catalog = place.open().await;
    let (one, two) = (run(1), run(2));
    for run in [&one, &two] {
        catalog.create_run(run).await.unwrap();
    }
    let progress = Run {
        state: RunState::Failed,
        error: Some("the loss is not a number".to_owned()),
        epoch: 3,
        accuracy: Some(0.937_5),
        loss: Some(0.123_456_78),
        device: Some("cpu (flex, 2 threads)".to_owned()),
        ..one.clone()
    };
    // What was asked for can't be changed.
    let attempt = Run {
        created: 99,
        network: NetworkName::EfficientnetB0,
        ..progress.clone()
    };
    catalog.update_run(&attempt).await.unwrap();
    catalog.create_run(&one).await.unwrap();
    assert_eq!(catalog.run(one.id).await, Ok(Some(progress.clone())));
    assert_eq!(catalog.run(two.id).await, Ok(Some(two.clone())));
    let all = vec![two.clone(), progress.clone()];
    assert_eq!(catalog.runs(None, 10).await, Ok(all));
    assert_eq!(catalog.runs(None, 1).await, Ok(vec![two]));
    let of_one = catalog.runs(Some(&one.dataset), 10).await;
    assert_eq!(of_one, Ok(vec![progress]));

    let unknown = run(3);
    let not_found = StorageError::NotFound(format!("run {}", unknown.id));
    assert_eq!(catalog.update_run(&unknown).await, Err(not_found));
    assert_eq!(catalog.run(unknown.id).await, Ok(None));
}

async fn a_failed_run_is_opened_again_as_if_nobody_had_begun_it(place: &Place) {
    let catalog = place.open().await;
    let asked = run(1);
    let work = Work::Train(asked.id);
    catalog.create_run(&asked).await.unwrap();
    catalog.offer_work(&work).await.unwrap();
    let held = take(&*catalog, &work, "one").await;

    catalog.reopen_run(asked.id).await.unwrap();
    let lease = lease_on(&*catalog, &work).await;
    assert_eq!(lease, held, "one that is open is left to its trainer");

    let failed = Run {
        state: RunState::Failed,
        error: Some("no memory is left".to_owned()),
        epoch: 3,
        accuracy: Some(0.5),
        loss: Some(0.7),
        device: Some("cpu".to_owned()),
        ..asked.clone()
    };
    catalog.update_run(&failed).await.unwrap();
    catalog.reopen_run(asked.id).await.unwrap();
    assert_eq!(catalog.run(asked.id).await, Ok(Some(asked.clone())));
    assert_eq!(
        catalog.finish_work(&held).await,
        Ok(false),
        "who failed is late"
    );
    let lease = lease_on(&*catalog, &work).await;
    assert_eq!((lease.owner, lease.failures), (None, 0));

    let held = take(&*catalog, &work, "two").await;
    catalog.update_run(&failed).await.unwrap();
    assert_eq!(catalog.finish_work(&held).await, Ok(true));
    catalog.reopen_run(asked.id).await.unwrap();
    let held = take(&*catalog, &work, "three").await;
    let done = Run {
        state: RunState::Done,
        ..failed
    };
    catalog.update_run(&done).await.unwrap();
    assert_eq!(catalog.finish_work(&held).await, Ok(true));
    catalog.reopen_run(asked.id).await.unwrap();
    assert_eq!(catalog.run(asked.id).await, Ok(Some(done)));
    assert_eq!(catalog.open_work("train").await, Ok(vec![]));

    let unknown = run(2).id;
    let not_found = StorageError::NotFound(format!("run {unknown}"));
    assert_eq!(catalog.reopen_run(unknown).await, Err(not_found));
}

async fn models_are_published(place: &Place) {
    let catalog = place.open().await;
    let model = |number: u64| {
        let run = run(number);
        Model {
            id: run.id,
            dataset: run.dataset,
            network: run.network,
            classes: vec![label("with_mask"), label("without_mask")],
            pixels: 112,
            parameters: 1_519_906,
            accuracy: 0.96,
            loss: 0.1,
            seconds: 61.25,
            created: number,
        }
    };
    let (one, two) = (model(1), model(2));
    assert_eq!(catalog.model(one.id).await, Ok(None));
    for model in [&one, &two, &one] {
        catalog.publish_model(model).await.unwrap();
    }
    assert_eq!(catalog.model(one.id).await, Ok(Some(one.clone())));
    assert_eq!(catalog.models(10).await, Ok(vec![two.clone(), one]));
    assert_eq!(catalog.models(1).await, Ok(vec![two]));
}

// Processes

async fn two_connections_see_each_other(place: &Place) {
    let (one, other) = (place.open().await, place.open().await);
    let job = recorded_job(&*one).await;
    let all = candidates(job);
    other.add_candidates(&all).await.unwrap();
    store(&*one, &all[0], b"a", "with_mask").await;
    other.finish_expansion(job).await.unwrap();
    assert_eq!(one.counts(job).await, other.counts(job).await);
    assert_eq!(other.counts(job).await.unwrap().stored, 1);
    assert_eq!(state(&*one, job).await, JobState::Running);
    let image = ImageId::of(b"a");
    assert_eq!(
        one.image(job, &image).await.unwrap(),
        other.image(job, &image).await.unwrap()
    );
}

const CHILD: &str = "MASKLINE_TEST_CATALOG_OF_CHILD";

/// The test starts itself once more as a child, which stores images and prints
/// the number of each when it is stored, until it is killed.
async fn a_killed_process_leaves_whole_books(place: &Place) {
    if let Ok(url) = std::env::var(CHILD) {
        return store_until_killed(&url).await;
    }
    let catalog = place.open().await;
    let mut job = job();
    job.id = JobId(Uuid::new_v5(&Uuid::NAMESPACE_URL, b"the child's job"));
    catalog.create_job(&job).await.unwrap();

    let module = place.url.split(':').next().expect("a scheme");
    let me = std::env::current_exe().expect("the test's own file");
    let mut child = Command::new(me)
        .args(["--exact", "--nocapture"])
        .arg(format!("{module}::a_killed_process_leaves_whole_books"))
        .env(CHILD, &place.url)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut stored = BTreeSet::new();
    let mut note = |line: String| {
        // The test harness may have begun the line.
        if let Some((_, number)) = line.split_once("stored ") {
            stored.insert(number.parse::<usize>().expect("a number"));
        }
        stored.len()
    };
    while note(
        lines
            .next()
            .expect("it goes on until killed")
            .expect("text"),
    ) < 60
    {}
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    for line in lines {
        note(line.expect("lines are written whole"));
    }

    let reopened = place.open().await;
    for &number in &stored {
        let candidate = candidate(job.id, number);
        let image = ImageId::of(&number.to_be_bytes());
        let found = reopened.candidate(candidate.id).await.unwrap().unwrap();
        assert_eq!(found.state, CandidateState::Stored, "{number}");
        assert!(reopened.image(job.id, &image).await.unwrap().is_some());
    }
    let books = reopened.counts(job.id).await.unwrap();
    assert_eq!(books.found, books.stored + books.in_flight);
    assert!(books.stored >= stored.len() as u64);
    let facts = reopened.image_facts(job.id, None, 10_000).await.unwrap();
    assert_eq!(facts.len() as u64, books.stored, "each with its image");
    assert!(reopened.candidate(candidate(job.id, 0).id).await.is_ok());
    store(
        &*reopened,
        &candidate(job.id, 0),
        &0_usize.to_be_bytes(),
        "a",
    )
    .await;
}

async fn store_until_killed(url: &str) {
    let catalog = catalog::open(url).await.unwrap();
    let job = JobId(Uuid::new_v5(&Uuid::NAMESPACE_URL, b"the child's job"));
    for batch in 0.. {
        let numbers = batch * 16..(batch + 1) * 16;
        let found: Vec<_> = numbers.clone().map(|n| candidate(job, n)).collect();
        catalog.add_candidates(&found).await.unwrap();
        let storing = found.iter().zip(numbers).map(|(candidate, number)| {
            let catalog = &catalog;
            async move {
                let mut document = image(candidate, &number.to_be_bytes(), "a");
                document.binary = vec![number as u8; 20_000].into();
                catalog.put_image(&document).await.unwrap();
                end(&**catalog, candidate.id, End::Stored).await;
                let mut out = std::io::stdout().lock();
                writeln!(out, "stored {number}").unwrap();
                out.flush().unwrap();
            }
        });
        join_all(storing).await;
    }
}

async fn it_answers_a_ping(place: &Place) {
    assert_eq!(place.open().await.ping().await, Ok(()));
}

// What is asked of one of them only

#[tokio::test]
async fn an_address_of_no_known_kind_is_refused() {
    for url in ["postgres://localhost/db", "catalog.db", "", "sqlite:"] {
        let error = catalog::open(url).await.err().expect(url);
        assert!(matches!(error, StorageError::Misconfigured(_)), "{url}");
        assert!(error.to_string().contains("sqlite:PATH"), "{error}");
    }
}

mod sqlite_files {
    use std::{fs, path::PathBuf};

    use super::*;

    fn file_of(place: &Place) -> PathBuf {
        place.url.strip_prefix("sqlite:").expect("its kind").into()
    }

    async fn refused(place: &Place) -> String {
        match catalog::open(&place.url).await {
            Err(StorageError::Misconfigured(text)) => text,
            Err(other) => panic!("another kind of error: {other:?}"),
            Ok(_) => panic!("{} opened", place.url),
        }
    }

    #[tokio::test]
    async fn a_file_of_another_version_is_refused() {
        let place = Place::sqlite();
        recorded_job(&*place.open().await).await;
        let raw = rusqlite::Connection::open(file_of(&place)).unwrap();
        raw.pragma_update(None, "user_version", 7).unwrap();
        let text = refused(&place).await;
        assert!(text.contains("written by another version of maskline"));
        assert!(text.contains("found 7, this build reads 3"), "{text}");
        let tables: i64 = raw
            .query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 1, "nothing was changed");
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused() {
        let place = Place::sqlite();
        let file = file_of(&place);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let text = "url,label\nhttps://example.org/a.jpg,with_mask\n".repeat(100);
        fs::write(&file, &text).unwrap();
        assert!(refused(&place).await.contains("damaged or no database"));
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "left alone");
    }

    #[tokio::test]
    async fn a_database_of_something_else_is_refused() {
        let place = Place::sqlite();
        let file = file_of(&place);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let raw = rusqlite::Connection::open(&file).unwrap();
        raw.execute_batch("CREATE TABLE recipes (name TEXT)")
            .unwrap();
        assert!(refused(&place).await.contains("not of maskline"));
    }

    #[tokio::test]
    async fn a_damaged_file_is_refused() {
        let place = Place::sqlite();
        recorded_job(&*place.open().await).await;
        let file = file_of(&place);
        let whole = fs::read(&file).unwrap();
        // The header stays, the tables' list goes.
        let mut damaged = whole.clone();
        damaged[100..].fill(0xff);
        for suffix in ["-wal", "-shm"] {
            let mut beside = file.clone().into_os_string();
            beside.push(suffix);
            fs::remove_file(beside).ok();
        }
        fs::write(&file, damaged).unwrap();
        assert!(refused(&place).await.contains("put back a copy"));
    }

    #[tokio::test]
    async fn a_place_that_can_not_be_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        for path in ["file/catalog.db", "."] {
            let place = Place {
                url: format!("sqlite:{}", folder.path().join(path).display()),
                _folder: None,
            };
            let text = refused(&place).await;
            assert!(text.contains("another f"), "{text}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn processes_that_start_at_once_make_one_catalog() {
        let place = Place::sqlite();
        let openings = (0..8).map(|_| catalog::open(&place.url));
        let catalogs: Vec<_> = join_all(openings)
            .await
            .into_iter()
            .map(|opened| opened.expect("it opens"))
            .collect();
        let job = recorded_job(&*catalogs[0]).await;
        for catalog in &catalogs {
            assert!(catalog.job(job).await.unwrap().is_some());
        }
    }
}

mod mongodb_servers {
    use ::mongodb::bson::{Document, doc};

    use super::*;

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_unavailable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = listener.local_addr().unwrap();
        drop(listener);
        let url = format!("mongodb://me:hunter2@{nobody}/faces?serverSelectionTimeoutMS=200");
        let error = catalog::open(&url).await.err().expect("nobody is there");
        assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&nobody.to_string()), "{text}");
        assert!(text.contains("database faces"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn a_database_of_another_version_is_refused() {
        let place = Place::mongodb();
        place.open().await;
        let client = ::mongodb::Client::with_uri_str(&place.url).await.unwrap();
        let database = client.default_database().expect("it names a database");
        let versions = database.collection::<Document>("versions");
        let newer = doc! { "$set": { "version": 7 } };
        let updated = versions.update_one(doc! { "_id": "catalog" }, newer).await;
        assert_eq!(updated.unwrap().modified_count, 1);
        let error = catalog::open(&place.url).await.err();
        place.drop_database().await;
        let Some(StorageError::Misconfigured(text)) = error else {
            panic!("not refused: {error:?}");
        };
        assert!(text.contains("written by another version of maskline"));
        assert!(text.contains("found 7, this build reads 3"), "{text}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn processes_that_start_at_once_share_one_catalog() {
        let place = Place::mongodb();
        let opened = join_all((0..8).map(|_| catalog::open(&place.url))).await;
        let mut known = vec![];
        if let Some(Ok(first)) = opened.first() {
            let job = recorded_job(&**first).await;
            for catalog in &opened {
                let catalog = catalog.as_ref().map_err(Clone::clone);
                known.push(match catalog {
                    Ok(catalog) => catalog.job(job).await.map(|job| job.is_some()),
                    Err(error) => Err(error),
                });
            }
        }
        place.drop_database().await;
        assert_eq!(known, vec![Ok(true); 8]);
    }
}

// Samples

fn job() -> Job {
    Job {
        id: JobId::draw(),
        source: Source::Folder {
            path: "/data/faces of people".into(),
        },
        labeling: Some(Labeling::Folder),
        classes: vec![label("with_mask"), label("without_mask")],
        train: vec![NetworkName::MobilenetV3Small, NetworkName::Mnasnet1_0],
        settings: TrainingSettings::default(),
        split: SplitSettings::default(),
        state: JobState::Expanding,
        error: None,
        dataset: None,
        replayed: None,
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        created: 1_790_000_000_000,
    }
}

async fn recorded_job(catalog: &dyn Catalog) -> JobId {
    let job = job();
    catalog.create_job(&job).await.unwrap();
    job.id
}

/// A job in which nothing was found.
async fn expanded_job(catalog: &dyn Catalog) -> JobId {
    let job = recorded_job(catalog).await;
    catalog.finish_expansion(job).await.unwrap();
    catalog.offer_work(&Work::Freeze(job)).await.unwrap();
    job
}

/// Freezes a job that is settled now.
async fn freeze(catalog: &dyn Catalog, job: JobId, dataset: &Dataset) {
    let settled = catalog.settled(job).await.unwrap();
    let settled = settled.expect("nothing is in flight");
    catalog.freeze(job, dataset, settled).await.unwrap();
}

/// Fails a job that is settled now.
async fn fail(catalog: &dyn Catalog, job: JobId) {
    let settled = catalog.settled(job).await.unwrap();
    let settled = settled.expect("nothing is in flight");
    let failing = catalog.fail_settled(job, "nothing is left", settled);
    failing.await.unwrap();
}

/// Takes work out of whosesoever hands.
async fn take(catalog: &dyn Catalog, work: &Work, owner: &str) -> Lease {
    let seen = lease_on(catalog, work).await;
    let taken = catalog.acquire_lease(&seen, owner).await.unwrap();
    taken.expect("it is as it was seen")
}

async fn state(catalog: &dyn Catalog, job: JobId) -> JobState {
    catalog.job(job).await.unwrap().expect("it is there").state
}

fn candidate(job: JobId, number: usize) -> NewCandidate {
    let url = format!("https://example.org/faces/{number}.jpg?a=b%20c");
    let location = Location::Url(url.parse().expect("a URL"));
    NewCandidate {
        id: CandidateId::of(job, &location),
        job,
        location,
        label: Some(label("with_mask")),
    }
}

fn candidates(job: JobId) -> [NewCandidate; 3] {
    [0, 1, 2].map(|number| candidate(job, number))
}

fn labelled(candidate: NewCandidate, name: &str) -> NewCandidate {
    NewCandidate {
        label: Some(label(name)),
        ..candidate
    }
}

fn label(name: &str) -> Label {
    name.parse().expect("a label")
}

fn image(candidate: &NewCandidate, bytes: &[u8], name: &str) -> ImageDocument {
    ImageDocument {
        job: candidate.job,
        image: ImageId::of(bytes),
        candidate: candidate.id,
        source: candidate.location.clone(),
        binary: Bytes::copy_from_slice(&[&[0xff, 0xd8, 0, 0xff], bytes].concat()),
        width: 160,
        height: 120,
        label: label(name),
        how: How::Source,
        opinion: Some(Opinion {
            model: run(1).id,
            label: label(name),
            confidence: 0.987_654_3,
            agrees: true,
        }),
        measurements: Measurements {
            format: Format::Png,
            width: 640,
            height: 480,
            phash: 0xfedc_ba98_7654_3210,
            phash_mirrored: 0x8000_0000_0000_0001,
            brightness: 0.512_345_6,
            contrast: 0.21,
            sharpness: 180.75,
        },
    }
}

async fn store(
    catalog: &dyn Catalog,
    candidate: &NewCandidate,
    bytes: &[u8],
    label: &str,
) -> ImageDocument {
    let image = image(candidate, bytes, label);
    catalog.put_image(&image).await.unwrap();
    let ending = Ending {
        image: Some(image.image),
        ..ending(candidate.id, End::Stored)
    };
    catalog.finish_candidate(&ending).await.unwrap();
    image
}

async fn end(catalog: &dyn Catalog, candidate: CandidateId, how: End) {
    catalog
        .finish_candidate(&ending(candidate, how))
        .await
        .unwrap();
}

fn ending(candidate: CandidateId, end: End) -> Ending {
    Ending {
        candidate,
        image: None,
        history: vec![Hop::now("storer")],
        trace_id: None,
        end,
    }
}

fn rejected(reason: Reason) -> End {
    End::Rejected {
        stage: "validator".to_owned(),
        reason,
    }
}

fn failed() -> End {
    End::Failed {
        stage: "validator".to_owned(),
        error: "the disk is full".to_owned(),
    }
}

fn freezing() -> Work {
    Work::Freeze(JobId::draw())
}

async fn lease_on(catalog: &dyn Catalog, work: &Work) -> Lease {
    let open = catalog.open_work(work.kind()).await.unwrap();
    let lease = open.into_iter().find(|lease| lease.work == *work);
    lease.expect("the work is open")
}

fn dataset(job: JobId, content: &[u8]) -> Dataset {
    let per_class = |with, without| {
        BTreeMap::from([(label("with_mask"), with), (label("without_mask"), without)])
    };
    Dataset {
        id: DatasetId::of(content),
        job,
        classes: vec![label("with_mask"), label("without_mask")],
        images: BTreeMap::from([
            ("train".to_owned(), per_class(80, 79)),
            ("validation".to_owned(), per_class(20, 21)),
        ]),
        near_duplicate_groups: 3,
        set_aside: 2,
        split: SplitSettings::default(),
        created: 1_790_000_000_000,
    }
}

/// Runs on different datasets, created in the order of their numbers.
fn run(number: u64) -> Run {
    let dataset = DatasetId::of(&number.to_be_bytes());
    let settings = TrainingSettings::default();
    let network = NetworkName::MobilenetV3Small;
    Run {
        id: RunId::of(&dataset, network, &settings.canonical()),
        dataset,
        job: (number == 1).then(JobId::draw),
        network,
        settings,
        state: RunState::Open,
        error: None,
        epoch: 0,
        accuracy: None,
        loss: None,
        device: None,
        traceparent: None,
        created: number,
    }
}

/// Asks again and again, for as long as a slow machine may need.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(60), asking).await;
    asked.expect("it came true within a minute");
}
