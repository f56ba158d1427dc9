//! What the sources of a collection say of an image.

use std::collections::BTreeSet;

use maskline_messages::{CandidateId, CandidateState, Source, SourceRole};
use maskline_storage::{
    membership::Sources,
    records::{Job, Sighting},
};
use maskline_test_support::records;

fn job(folder: &str) -> Job {
    Job {
        source: Source::Folder {
            path: folder.into(),
        },
        expanded: true,
        ..records::job()
    }
}

fn test_job(folder: &str) -> Job {
    Job {
        role: SourceRole::Test,
        ..job(folder)
    }
}

fn sighting(job: &Job, label: &str) -> Sighting {
    Sighting {
        candidate: CandidateId(job.id.0),
        job: job.id,
        label: Some(label.parse().unwrap()),
        state: CandidateState::Stored,
        reason: None,
    }
}

fn copy(job: &Job, label: &str, reason: &str) -> Sighting {
    Sighting {
        state: CandidateState::Rejected,
        reason: Some(reason.to_owned()),
        ..sighting(job, label)
    }
}

/// The label and the role of an image.
fn of(jobs: &[Job], sightings: Vec<Sighting>) -> Option<(Option<String>, SourceRole)> {
    let member = Sources::of(jobs, &BTreeSet::new()).membership(&sightings)?;
    Some((member.label.map(String::from), member.role))
}

fn train(label: &str) -> Option<(Option<String>, SourceRole)> {
    Some((Some(label.to_owned()), SourceRole::Train))
}

#[test]
fn an_image_has_the_label_on_which_its_sources_agree() {
    let jobs = [job("a"), job("b"), job("c")];
    let [a, b, c] = &jobs;
    let unlabelled = Sighting {
        label: None,
        ..copy(c, "x", "exact_duplicate")
    };
    let agreed = vec![
        sighting(a, "x"),
        copy(b, "x", "exact_duplicate"),
        unlabelled,
    ];
    assert_eq!(of(&jobs, agreed), train("x"));
    let torn = vec![sighting(a, "x"), copy(b, "y", "exact_duplicate")];
    assert_eq!(of(&jobs, torn), Some((None, SourceRole::Train)));
    let rejected = vec![sighting(a, "x"), copy(b, "y", "too_small")];
    assert_eq!(of(&jobs, rejected), train("x"));
}

#[test]
fn a_source_that_was_enqueued_again_is_what_it_is_now() {
    let (first, mut again, other) = (job("a"), job("a"), job("b"));
    let jobs = [first.clone(), other.clone(), again.clone()];
    let gone = vec![sighting(&first, "x")];
    assert_eq!(of(&jobs, gone.clone()), None);
    let still_there = vec![sighting(&first, "x"), copy(&again, "x", "unchanged")];
    assert_eq!(of(&jobs, still_there), train("x"));
    let relabelled = vec![sighting(&first, "x"), copy(&again, "y", "unchanged")];
    assert_eq!(of(&jobs, relabelled), train("y"));
    let elsewhere = vec![sighting(&first, "x"), copy(&other, "x", "exact_duplicate")];
    assert_eq!(of(&jobs, elsewhere), train("x"));
    // Nobody knows what the source has now.
    again.expanded = false;
    assert_eq!(of(&[first, other, again], gone), train("x"));
}

#[test]
fn a_source_of_which_something_was_given_up_has_what_it_had_before() {
    let (first, again) = (job("a"), job("a"));
    let jobs = [first.clone(), again.clone()];
    assert_eq!(
        Sources::enqueued_again(&jobs).collect::<Vec<_>>(),
        [again.id]
    );
    let given_up = BTreeSet::from([again.id]);
    let sources = Sources::of(&jobs, &given_up);
    assert!(sources.membership(&[sighting(&first, "x")]).is_some());
}

#[test]
fn the_jobs_of_an_image_are_those_of_all_sources_that_have_it_now() {
    let jobs = [job("a"), test_job("b"), job("c"), job("a")];
    let [before, test, other, again] = &jobs;
    let sources = Sources::of(&jobs, &BTreeSet::new());
    let sightings = [
        copy(again, "x", "unchanged"),
        copy(other, "x", "too_small"),
        copy(test, "x", "exact_duplicate"),
        copy(test, "y", "exact_duplicate"),
        sighting(before, "x"),
    ];
    assert_eq!(sources.jobs_with(&sightings), [test.id, again.id]);
    assert!(sources.jobs_with(&[]).is_empty());
}

#[test]
fn a_test_source_decides_over_the_others() {
    let jobs = [job("a"), test_job("b")];
    let both = vec![
        sighting(&jobs[0], "x"),
        copy(&jobs[1], "x", "exact_duplicate"),
    ];
    assert_eq!(
        of(&jobs, both),
        Some((Some("x".to_owned()), SourceRole::Test))
    );
}

#[test]
fn a_removed_source_has_no_images() {
    let mut removed = job("a");
    removed.removed = Some(1);
    let sightings = vec![sighting(&removed, "x")];
    assert_eq!(of(&[removed], sightings), None);
}
