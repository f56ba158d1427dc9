//! Several connections and processes over one catalog.

use std::{
    collections::BTreeSet, io::BufRead, io::BufReader, io::Write, process::Command, process::Stdio,
};

use futures::future::join_all;
use maskline_messages::{ImageId, JobId};
use maskline_storage::{
    catalog,
    records::{CandidateState, JobState, OutcomeKind},
};
use maskline_test_support::records;
use uuid::Uuid;

use crate::{
    environment::Environment,
    samples::{candidate, candidates, finish, image, job, recorded_job, state, store, usual},
};

contract! {
    two_connections_see_each_other,
    a_killed_process_leaves_counts_that_agree_with_the_documents,
    it_answers_a_ping,
}

async fn two_connections_see_each_other(environment: &Environment) {
    let (one, other) = (environment.catalog().await, environment.catalog().await);
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
        one.image(&usual(), &image).await.unwrap(),
        other.image(&usual(), &image).await.unwrap()
    );
}

const CHILD: &str = "MASKLINE_TEST_CATALOG_OF_CHILD";

/// The test starts itself once more as a child, which stores images and prints
/// the number of each when it is stored, until it is killed.
async fn a_killed_process_leaves_counts_that_agree_with_the_documents(environment: &Environment) {
    if let Ok(url) = std::env::var(CHILD) {
        return store_until_killed(&url).await;
    }
    let catalog = environment.catalog().await;
    let mut job = job();
    job.id = JobId(Uuid::new_v5(&Uuid::NAMESPACE_URL, b"the child's job"));
    records::create_job(&*catalog, &job).await;

    let module = environment
        .catalog_address()
        .split(':')
        .next()
        .expect("a scheme");
    let me = std::env::current_exe().expect("the test's own file");
    let mut child = Command::new(me)
        .args(["--exact", "--nocapture"])
        .arg(format!(
            "processes::{module}::a_killed_process_leaves_counts_that_agree_with_the_documents"
        ))
        .env(CHILD, environment.catalog_address())
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

    let reopened = environment.catalog().await;
    for &number in &stored {
        let candidate = candidate(job.id, number);
        let image = ImageId::of(&number.to_be_bytes());
        let found = reopened.candidate(candidate.id).await.unwrap().unwrap();
        assert_eq!(found.state, CandidateState::Stored, "{number}");
        assert!(reopened.image(&usual(), &image).await.unwrap().is_some());
    }
    let counts = reopened.counts(job.id).await.unwrap();
    assert_eq!(counts.found, counts.stored + counts.in_flight);
    assert!(counts.stored >= stored.len() as u64);
    let facts = reopened.image_facts(&usual(), None, 10_000).await.unwrap();
    assert_eq!(facts.len() as u64, counts.stored, "each with its image");
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
                finish(&**catalog, candidate.id, OutcomeKind::Stored).await;
                let mut out = std::io::stdout().lock();
                writeln!(out, "stored {number}").unwrap();
                out.flush().unwrap();
            }
        });
        join_all(storing).await;
    }
}

async fn it_answers_a_ping(environment: &Environment) {
    assert_eq!(environment.catalog().await.ping().await, Ok(()));
}
