//! The verdict itself: it finds what is wrong.

use bytes::Bytes;
use maskline_messages::{DatasetId, ObjectKey, Queue, topology};
use maskline_runtime::{Envelope, broker::Headers};
use maskline_storage::records::CandidateState;
use maskline_tests::{
    collection::{Collection, End},
    faults::{
        crew::{Crew, FIVE},
        round::Round,
        round::until,
        truth::Truth,
        verdict,
    },
    place::Place,
    site::{Manners, Site},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finds_nothing_where_nothing_is_wrong_and_everything_that_is() {
    let truth = Truth::found(Collection::of_the_web(50_000, 5)).await;
    let round = ended(truth).await;
    assert_eq!(verdict::judge(&round, &round.truth).await, [""; 0]);

    let expects = |change: &dyn Fn(&mut Truth)| {
        let mut other = Truth {
            collection: round.truth.collection.clone(),
            dataset: round.truth.dataset,
        };
        change(&mut other);
        other
    };
    let another_dataset = expects(&|truth| truth.dataset = DatasetId::of(b"another"));
    is_found(&round, &another_dataset, "the job's dataset is").await;
    let another_end = expects(&|truth| {
        let mut entries = truth.collection.entries.iter_mut();
        let stored = entries.find(|entry| entry.end == End::Stored);
        stored.expect("a good one").end = End::Rejected("blurred");
    });
    is_found(&round, &another_end, "ended as").await;
    is_found(&round, &another_end, "the books say").await;
    let one_more = expects(&|truth| {
        let more = truth.collection.entries[0].clone();
        truth.collection.entries.push(more);
    });
    is_found(&round, &one_more, "the books say").await;

    letter(&round).await;
    is_found(&round, &round.truth, "a dead letter from validator.images").await;
    stray(&round).await;
    is_found(&round, &round.truth, "belongs to nothing").await;
    lost(&round).await;
    is_found(&round, &round.truth, "the raw object").await;
    round.crew.stop().await;
}

/// A job that came to its end undisturbed.
async fn ended(truth: Truth) -> Round {
    let place = Place::embedded();
    let crew = Crew::start(&place, &FIVE).await;
    let site = Site::serve(&truth.collection, Manners::default()).await;
    let round = Round::begin_on(truth.into(), site, place, crew, &[]).await;
    assert!(until(async || round.is_over().await && round.is_quiet().await).await);
    round
}

async fn is_found(round: &Round, truth: &Truth, problem: &str) {
    let problems = verdict::judge(round, truth).await;
    let found = problems.iter().any(|found| found.contains(problem));
    assert!(found, "{problem:?} is not among {problems:#?}");
}

async fn letter(round: &Round) {
    let id = (topology::headers::MESSAGE_ID.to_owned(), "1".to_owned());
    let envelope = Envelope {
        key: Queue::ValidatorImages.keys()[0].to_owned(),
        headers: Headers::from([id]),
        body: Bytes::from_static(b"{ this is no message"),
    };
    round.broker.publish(envelope).await.expect("it is taken");
    let buried = async || !verdict::of_broker(&*round.broker).await.is_empty();
    assert!(until(buried).await);
    assert!(until(async || round.is_quiet().await).await);
}

async fn stray(round: &Round) {
    let key: ObjectKey = "runs/none/checkpoint.json".parse().expect("a key");
    let put = round.stores.objects.put(&key, Bytes::from_static(b"{}"));
    put.await.expect("it is taken");
}

async fn lost(round: &Round) {
    let catalog = &round.stores.catalog;
    let stored = catalog.candidates_in(round.job, CandidateState::Stored, None, 1);
    let stored = stored.await.expect("the catalog answers").remove(0);
    let key = ObjectKey::raw(&stored.image.expect("it was fetched"));
    let deleted = round.stores.objects.delete(&key).await;
    deleted.expect("it is removed");
}
