//! Candidates and their counts.

use std::{collections::BTreeMap, collections::BTreeSet};

use futures::future::join_all;
use maskline_messages::{CandidateId, Fetched, Hop, ImageId, JobId, Provenance, Reason};
use maskline_storage::{
    Catalog, StorageError,
    records::{CandidateOutcome, CandidateState, Counts, NewCandidate, OutcomeKind},
};
use tokio_util::sync::CancellationToken;

use crate::{
    environment::Environment,
    samples::{
        add, candidate, candidates, failed, finish, label, moved_to, named, outcome_of,
        recorded_job, recorded_job_in, rejected, store,
    },
};

contract! {
    candidates_are_recorded_once,
    a_large_batch_of_candidates_is_recorded,
    stored_and_rejected_are_for_good,
    a_reopened_candidate_is_finished_once_more,
    an_outcome_without_image_and_trace_keeps_those_that_are_known,
    a_candidate_of_which_the_source_tells_nothing_comes_back_as_it_was,
    an_unknown_candidate_is_not_found,
    the_counts_add_up,
    the_counts_agree_with_the_candidates_at_any_time,
    every_reason_comes_back_as_it_was,
    candidates_finished_at_the_same_time_are_all_counted,
    candidates_come_in_pages,
    candidates_of_an_image_come_from_all_jobs_of_all_collections,
}

async fn candidates_are_recorded_once(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let [a, b, c] = candidates(job);
    catalog
        .add_candidates(&[a.clone(), b.clone()])
        .await
        .unwrap();
    store(&*catalog, &a, b"a", "with_mask").await;
    // The same candidates come again: one is finished by now, one comes twice, one is new.
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
    assert_eq!(found.collection, c.collection);
    assert_eq!(found.provenance, c.provenance);
    assert_eq!((found.image, found.fetched), (None, None));
    assert_eq!(found.history, vec![]);
    let unknown = candidate(JobId::draw(), 1).id;
    assert_eq!(catalog.candidate(unknown).await, Ok(None));
}

async fn a_large_batch_of_candidates_is_recorded(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let many: Vec<_> = (0..3_000).map(|number| candidate(job, number)).collect();
    catalog.add_candidates(&many).await.unwrap();
    catalog.add_candidates(&many[1_000..]).await.unwrap();
    let counts = catalog.counts(job).await.unwrap();
    assert_eq!((counts.found, counts.in_flight), (3_000, 3_000));
}

async fn stored_and_rejected_are_for_good(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let [a, b, _] = candidates(job);
    catalog
        .add_candidates(&[a.clone(), b.clone()])
        .await
        .unwrap();
    store(&*catalog, &a, b"a", "with_mask").await;
    finish(&*catalog, b.id, rejected(Reason::Empty)).await;
    let before = [
        catalog.candidate(a.id).await.unwrap(),
        catalog.candidate(b.id).await.unwrap(),
    ];
    for late in [failed(), rejected(Reason::NoLabel), OutcomeKind::Stored] {
        for candidate in [&a, &b] {
            let mut outcome = outcome_of(candidate.id, late.clone());
            outcome.image = Some(ImageId::of(b"another"));
            let found = catalog.finish_candidate(&outcome).await.unwrap();
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

async fn a_reopened_candidate_is_finished_once_more(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let [a, b, c] = candidates(job);
    let all = [a.clone(), b.clone(), c.clone()];
    catalog.add_candidates(&all).await.unwrap();
    for candidate in &all {
        finish(&*catalog, candidate.id, failed()).await;
    }
    let found = catalog.candidate(a.id).await.unwrap().unwrap();
    assert_eq!(found.state, CandidateState::Failed);
    assert_eq!(found.stage.as_deref(), Some("validator"));
    assert_eq!(found.error.as_deref(), Some("the disk is full"));

    let later = OutcomeKind::Failed {
        stage: "labeler".to_owned(),
        error: "later".to_owned(),
    };
    for late in [OutcomeKind::Stored, rejected(Reason::Empty), later] {
        let found = catalog.finish_candidate(&outcome_of(c.id, late)).await;
        assert_eq!(found, Ok(CandidateState::Failed), "for a person to decide");
    }
    for _ in 0..2 {
        let (reopened, job) = ([a.id, b.id], job);
        catalog.reopen_candidates(job, &reopened).await.unwrap();
    }
    let counts = catalog.counts(job).await.unwrap();
    assert_eq!((counts.in_flight, counts.failed), (2, 1));
    let found = catalog.candidate(a.id).await.unwrap().unwrap();
    assert_eq!((found.stage, found.error), (None, None));
    finish(&*catalog, a.id, OutcomeKind::Stored).await;
    finish(&*catalog, b.id, rejected(Reason::Empty)).await;

    let found = catalog.candidate(a.id).await.unwrap().unwrap();
    assert_eq!(found.state, CandidateState::Stored);
    assert_eq!((found.stage, found.error), (None, None));
    let found = catalog.candidate(b.id).await.unwrap().unwrap();
    assert_eq!(found.state, CandidateState::Rejected);
    assert_eq!((found.reason, found.error), (Some(Reason::Empty), None));
    let found = catalog.candidate(c.id).await.unwrap().unwrap();
    assert_eq!(found.error.as_deref(), Some("the disk is full"));
}

async fn an_outcome_without_image_and_trace_keeps_those_that_are_known(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let candidate = candidate(job, 1);
    catalog
        .add_candidates(std::slice::from_ref(&candidate))
        .await
        .unwrap();
    let image = ImageId::of(b"bytes");
    let fetched = Fetched {
        at: 1_790_000_000_000,
        etag: Some("W/\"33a64df5\"".to_owned()),
        last_modified: Some("Wed, 21 Oct 2026 07:28:00 GMT".to_owned()),
    };
    let first = CandidateOutcome {
        image: Some(image),
        fetched: Some(fetched.clone()),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        ..outcome_of(candidate.id, failed())
    };
    catalog.finish_candidate(&first).await.unwrap();
    let reopened = [candidate.id];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    let history = vec![Hop::now("validator"), Hop::now("storer")];
    let found = catalog.candidate(candidate.id).await.unwrap().unwrap();
    assert_eq!((found.image, found.fetched), (Some(image), first.fetched));
    let second = CandidateOutcome {
        image: None,
        fetched: None,
        trace_id: None,
        history: history.clone(),
        ..outcome_of(candidate.id, rejected(Reason::Empty))
    };
    catalog.finish_candidate(&second).await.unwrap();
    let found = catalog.candidate(candidate.id).await.unwrap().unwrap();
    assert_eq!(found.image, Some(image));
    assert_eq!(found.fetched, Some(fetched));
    assert_eq!(found.trace_id, first.trace_id);
    assert_eq!(found.history, history);
    assert_eq!(found.label, candidate.label);
    assert_eq!(found.location, candidate.location);
    assert_eq!(found.collection, candidate.collection);
    assert_eq!(found.provenance, candidate.provenance);
}

async fn a_candidate_of_which_the_source_tells_nothing_comes_back_as_it_was(
    environment: &Environment,
) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let told_nothing = NewCandidate {
        label: None,
        provenance: Provenance::default(),
        ..candidate(job, 1)
    };
    add(&*catalog, &told_nothing).await;
    let unanswered = Fetched {
        at: 1,
        etag: None,
        last_modified: None,
    };
    let outcome = CandidateOutcome {
        fetched: Some(unanswered.clone()),
        ..outcome_of(told_nothing.id, OutcomeKind::Stored)
    };
    catalog.finish_candidate(&outcome).await.unwrap();
    let found = catalog.candidate(told_nothing.id).await.unwrap().unwrap();
    assert_eq!((found.label, found.fetched), (None, Some(unanswered)));
    assert_eq!(found.provenance, Provenance::default());
}

async fn an_unknown_candidate_is_not_found(environment: &Environment) {
    let catalog = environment.catalog().await;
    let unknown = candidate(JobId::draw(), 1).id;
    for kind in [OutcomeKind::Stored, rejected(Reason::Empty), failed()] {
        let outcome = catalog.finish_candidate(&outcome_of(unknown, kind)).await;
        let not_found = StorageError::not_found(format!("candidate {unknown}"));
        assert_eq!(outcome, Err(not_found));
    }
    assert_eq!(catalog.candidate(unknown).await, Ok(None));
}

async fn the_counts_add_up(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (job, other) = (recorded_job(&*catalog).await, recorded_job(&*catalog).await);
    let all: Vec<_> = (0..10).map(|number| candidate(job, number)).collect();
    catalog.add_candidates(&all).await.unwrap();
    catalog.add_candidates(&candidates(other)).await.unwrap();
    let kinds = [
        OutcomeKind::Stored,
        OutcomeKind::Stored,
        rejected(Reason::Empty),
        rejected(Reason::HttpStatus { status: 404 }),
        rejected(Reason::HttpStatus { status: 410 }),
        failed(),
    ];
    for (candidate, kind) in all.iter().zip(kinds) {
        finish(&*catalog, candidate.id, kind).await;
    }
    let expected = Counts {
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
    let empty = Counts::default();
    assert_eq!(catalog.counts(JobId::draw()).await, Ok(empty));
}

async fn the_counts_agree_with_the_candidates_at_any_time(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
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
            // Half of the batch comes before the whole, as if the scraper had died.
            one.add_candidates(&batch[..10]).await.unwrap();
            for (number, candidate) in batch[..10].iter().enumerate() {
                let kind = match number % 3 {
                    0 => OutcomeKind::Stored,
                    1 => rejected(Reason::Empty),
                    _ => failed(),
                };
                finish(&*other, candidate.id, kind).await;
            }
            assert_eq!(one.counts(job).await, Ok(counted(&*one, job).await));
            other.add_candidates(batch).await.unwrap();
            assert_eq!(one.counts(job).await, Ok(counted(&*one, job).await));
            let late = batch[10..].iter().map(|c| finish(&*other, c.id, failed()));
            join_all(late).await;
            assert_eq!(other.counts(job).await, Ok(counted(&*one, job).await));
            // All failed candidates are reopened but the last ones.
            let ids: Vec<_> = batch[..15 + round].iter().map(|c| c.id).collect();
            other.reopen_candidates(job, &ids).await.unwrap();
            assert_eq!(one.counts(job).await, Ok(counted(&*one, job).await));
        }
    }
    walked.cancel();
    looking.await.unwrap();
    let counts = one.counts(job).await.unwrap();
    assert_eq!((counts.found, counts.stored, counts.rejected), (60, 12, 9));
    assert!(counts.failed > 0, "{counts:?}");
}

/// Counts the candidates one by one.
async fn counted(catalog: &dyn Catalog, job: JobId) -> Counts {
    let mut counts = Counts::default();
    for state in CandidateState::ALL {
        let found = catalog.candidates_in(job, state, None, 1_000).await;
        for candidate in found.unwrap() {
            counts.add(state, candidate.reason.as_ref().map(Reason::code), 1);
        }
    }
    counts
}

async fn every_reason_comes_back_as_it_was(environment: &Environment) {
    let catalog = environment.catalog().await;
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
        finish(&*catalog, candidate.id, rejected(reason.clone())).await;
        let found = catalog.candidate(candidate.id).await.unwrap().unwrap();
        assert_eq!(found.reason, Some(reason));
        assert_eq!(found.stage.as_deref(), Some("validator"));
    }
}

async fn candidates_finished_at_the_same_time_are_all_counted(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
    let job = recorded_job(&*one).await;
    let all: Vec<_> = (0..200).map(|number| candidate(job, number)).collect();
    one.add_candidates(&all).await.unwrap();
    let endings = all.iter().enumerate().map(|(number, candidate)| {
        let catalog = if number % 2 == 0 { &one } else { &other };
        let (catalog, outcome) = (
            catalog.clone(),
            outcome_of(candidate.id, OutcomeKind::Stored),
        );
        tokio::spawn(async move { catalog.finish_candidate(&outcome).await.unwrap() })
    });
    for ended in join_all(endings).await {
        ended.unwrap();
    }
    let counts = one.counts(job).await.unwrap();
    assert_eq!((counts.stored, counts.in_flight), (200, 0));
}

async fn candidates_come_in_pages(environment: &Environment) {
    let catalog = environment.catalog().await;
    let job = recorded_job(&*catalog).await;
    let all: Vec<_> = (0..25).map(|number| candidate(job, number)).collect();
    catalog.add_candidates(&all).await.unwrap();
    catalog
        .add_candidates(&candidates(JobId::draw()))
        .await
        .unwrap();
    let mut rejects = BTreeSet::new();
    for candidate in &all[..20] {
        finish(&*catalog, candidate.id, rejected(Reason::Empty)).await;
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

async fn candidates_of_an_image_come_from_all_jobs_of_all_collections(environment: &Environment) {
    let catalog = environment.catalog().await;
    let mut expected = BTreeSet::new();
    let image = ImageId::of(b"bytes");
    for collection in ["one", "one", "other"] {
        let collection = named(collection);
        let job = recorded_job_in(&*catalog, &collection).await;
        let [a, b, _] = candidates(job).map(|found| moved_to(&collection, found));
        catalog
            .add_candidates(&[a.clone(), b.clone()])
            .await
            .unwrap();
        let outcome = CandidateOutcome {
            image: Some(image),
            ..outcome_of(a.id, rejected(Reason::NoLabel))
        };
        catalog.finish_candidate(&outcome).await.unwrap();
        finish(&*catalog, b.id, rejected(Reason::Empty)).await;
        expected.insert(a.id);
    }
    let found = catalog.candidates_of(&image).await.unwrap();
    let found: BTreeSet<_> = found.iter().map(|candidate| candidate.id).collect();
    assert_eq!(found, expected);
    let none = catalog.candidates_of(&ImageId::of(b"other")).await;
    assert_eq!(none, Ok(vec![]));
}
