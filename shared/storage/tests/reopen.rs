//! Jobs and candidates that are opened again before dead letters are replayed.

use std::collections::BTreeSet;

use maskline_messages::{
    CandidateFound, CandidateState, DatasetId, DatasetReady, JobId, JobState, Location, Message,
    SourceRequested, TrainingChoices,
};
use maskline_storage::{
    Catalog,
    records::Work,
    reopen::{DeadMessage, reopen},
};
use maskline_test_support::{embedded::Embedded, messages, records};

/// A job that expands, with one candidate that was given up.
async fn recorded_job(catalog: &dyn Catalog) -> (JobId, CandidateFound) {
    let job = records::job();
    records::create_job(catalog, &job).await;
    let found = messages::found(job.id, Location::Path("a.jpg".into()));
    let candidate = records::candidate(job.id, found.location.clone());
    catalog.add_candidates(&[candidate]).await.unwrap();
    let given_up = records::outcome(found.candidate, records::dead_lettered());
    catalog.finish_candidate(&given_up).await.unwrap();
    (job.id, found)
}

/// The job fails, because nothing of it is left.
async fn settle(catalog: &dyn Catalog, job: JobId) {
    catalog.finish_expansion(job).await.unwrap();
    let collection = records::job().collection;
    let settled = catalog.settled(&collection).await.unwrap().unwrap();
    let failing = catalog.fail_settled(job, "nothing is left", &settled);
    failing.await.unwrap();
}

/// The collections whose freezing is offered.
async fn freezings(catalog: &dyn Catalog) -> Vec<Work> {
    let open = catalog.open_work("freeze").await.unwrap();
    open.into_iter().map(|lease| lease.work).collect()
}

async fn state(catalog: &dyn Catalog, job: JobId) -> JobState {
    catalog.job(job).await.unwrap().unwrap().state
}

fn step(job: JobId) -> SourceRequested {
    SourceRequested {
        job,
        source: records::job().source,
        labeling: None,
        cursor: None,
        found: 0,
    }
}

fn dead<'a>(id: &'a str, body: &'a [u8]) -> DeadMessage<'a> {
    DeadMessage {
        id,
        stage: "scraper",
        body,
    }
}

fn json(message: impl Into<Message>) -> Vec<u8> {
    message.into().to_json()
}

#[tokio::test]
async fn a_job_that_had_ended_without_a_candidate_waits_for_it_and_is_named() {
    let environment = Embedded::open().await;
    let catalog = &*environment.catalog;
    let (job, found) = recorded_job(catalog).await;
    settle(catalog, job).await;
    assert_eq!(freezings(catalog).await, []);
    let body = json(found.clone());
    let letters = [dead("one", &body), dead("two", &body)];
    let reopened = reopen(catalog, letters).await.unwrap();
    assert_eq!(reopened.ready, ["one", "two"]);
    assert_eq!(reopened.jobs, BTreeSet::from([job]));
    assert_eq!(state(catalog, job).await, JobState::Running);
    let candidate = catalog.candidate(found.candidate).await.unwrap();
    assert_eq!(candidate.unwrap().state, CandidateState::InFlight);
    let freezing = Work::Freeze(records::job().collection);
    assert_eq!(freezings(catalog).await, [freezing]);

    let again = reopen(catalog, letters).await.unwrap();
    assert_eq!((again.ready, again.jobs.len()), (vec!["one", "two"], 0));
}

#[tokio::test]
async fn a_step_of_an_expansion_is_ready_once_its_job_is_recorded_as_failed() {
    let environment = Embedded::open().await;
    let catalog = &*environment.catalog;
    let (job, _) = recorded_job(catalog).await;
    let body = json(step(job));
    let letters = [dead("step", &body)];
    let early = reopen(catalog, letters).await.unwrap();
    assert_eq!((early.ready, early.early), (vec![], BTreeSet::from([job])));

    catalog.fail_job(job, "boom").await.unwrap();
    let reopened = reopen(catalog, letters).await.unwrap();
    assert_eq!(reopened.ready, ["step"]);
    assert_eq!(state(catalog, job).await, JobState::Expanding);

    // The broker was away then, and the dead letter is still there.
    let again = reopen(catalog, letters).await.unwrap();
    assert_eq!((again.ready, again.early.len()), (vec!["step"], 0));
    // The step was replayed and given up once more, as another dead letter.
    let other = [dead("other", &body)];
    let early = reopen(catalog, other).await.unwrap();
    assert_eq!((early.ready, early.early), (vec![], BTreeSet::from([job])));
}

#[tokio::test]
async fn a_step_that_the_broker_itself_gave_up_is_only_replayed() {
    let environment = Embedded::open().await;
    let catalog = &*environment.catalog;
    let (job, _) = recorded_job(catalog).await;
    let body = json(step(job));
    let dead = DeadMessage {
        stage: "",
        ..dead("step", &body)
    };
    let reopened = reopen(catalog, [dead]).await.unwrap();
    assert_eq!(reopened.ready, ["step"]);
    assert_eq!(state(catalog, job).await, JobState::Expanding);
}

#[tokio::test]
async fn dead_letters_that_ended_nothing_are_only_replayed() {
    let environment = Embedded::open().await;
    let catalog = &*environment.catalog;
    let unknown = JobId::draw();
    let ready = DatasetReady {
        job: Some(unknown),
        dataset: DatasetId::of(b"a dataset"),
        networks: vec![],
        settings: TrainingChoices::default(),
    };
    let (ready, elsewhere) = (json(ready), json(step(unknown)));
    let letters = [
        dead("broken", b"{ this is no message"),
        dead("ready", &ready),
        dead("of another catalog", &elsewhere),
    ];
    let reopened = reopen(catalog, letters).await.unwrap();
    assert_eq!(reopened.ready, ["broken", "ready", "of another catalog"]);
    assert_eq!((reopened.jobs.len(), reopened.early.len()), (0, 0));
}
