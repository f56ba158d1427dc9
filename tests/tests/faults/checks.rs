//! The checks themselves: they find nothing where nothing is wrong, and everything that is.

use bytes::Bytes;
use maskline_messages::{DatasetId, ObjectKey, Queue, topology::headers};
use maskline_storage::records::CandidateState;
use maskline_test_support::{environment::Environment, publish};
use maskline_tests::{
    collection::{Collection, EndState},
    faults::{
        checks::{broker_problems, find_problems},
        expected::Expected,
        job_under_test::{JobUnderTest, until},
        replicas::Replicas,
    },
    process::SERVICES,
    site::{Behaviour, Site},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_difference_from_the_undisturbed_run_is_found_and_nothing_else() {
    let collection = Collection::like_the_web(50_000, 5);
    let expected = Expected::from_undisturbed_run(collection).await;
    let job = undisturbed(expected).await;
    assert_eq!(find_problems(&job, &job.expected).await, [""; 0]);

    let changed = |change: &dyn Fn(&mut Expected)| {
        let mut other = Expected {
            collection: job.expected.collection.clone(),
            dataset: job.expected.dataset,
        };
        change(&mut other);
        other
    };
    let another_dataset = changed(&|expected| expected.dataset = DatasetId::of(b"another"));
    assert_found(&job, &another_dataset, "the job's dataset is").await;
    let another_end = changed(&|expected| {
        let mut entries = expected.collection.entries.iter_mut();
        let stored = entries.find(|entry| entry.end_state == EndState::Stored);
        stored.expect("a stored image").end_state = EndState::Rejected("blurred");
    });
    assert_found(&job, &another_end, "ended as").await;
    assert_found(&job, &another_end, "the counts are").await;
    let one_more = changed(&|expected| {
        let more = expected.collection.entries[0].clone();
        expected.collection.entries.push(more);
    });
    assert_found(&job, &one_more, "the counts are").await;

    let expected = &job.expected;
    add_dead_letter(&job).await;
    assert_found(&job, expected, "a dead letter from validator.images").await;
    add_stray_object(&job).await;
    assert_found(&job, expected, "belongs to nothing").await;
    delete_raw_object(&job).await;
    assert_found(&job, expected, "the raw object").await;
    job.replicas.stop().await;
}

/// A job that has ended undisturbed.
async fn undisturbed(expected: Expected) -> JobUnderTest {
    let environment = Environment::embedded();
    let replicas = Replicas::start(&environment, &SERVICES).await;
    let site = Site::serve(&expected.collection, Behaviour::default()).await;
    let job = JobUnderTest::enqueue_site(expected.into(), site, environment, replicas, &[]).await;
    assert!(until(async || job.is_over().await && job.is_quiet().await).await);
    job
}

async fn assert_found(job: &JobUnderTest, expected: &Expected, problem: &str) {
    let problems = find_problems(job, expected).await;
    let found = problems.iter().any(|found| found.contains(problem));
    assert!(found, "{problem:?} is not among {problems:#?}");
}

async fn add_dead_letter(job: &JobUnderTest) {
    let queue = Queue::ValidatorImages;
    let id = [(headers::MESSAGE_ID, "1")];
    publish::raw(&*job.broker, queue, &id, publish::UNREADABLE).await;
    let is_there = async || !broker_problems(&*job.broker).await.is_empty();
    assert!(until(is_there).await);
    assert!(until(async || job.is_quiet().await).await);
}

async fn add_stray_object(job: &JobUnderTest) {
    let key: ObjectKey = "runs/none/checkpoint.json".parse().expect("a key");
    let put = job.stores.objects.put(&key, Bytes::from_static(b"{}"));
    put.await.expect("the object store takes it");
}

async fn delete_raw_object(job: &JobUnderTest) {
    let catalog = &job.stores.catalog;
    let stored = catalog.candidates_in(job.id, CandidateState::Stored, None, 1);
    let stored = stored.await.expect("the catalog answers").remove(0);
    let key = ObjectKey::raw(&stored.image.expect("a stored candidate has an image"));
    let deleted = job.stores.objects.delete(&key).await;
    deleted.expect("the object can be removed");
}
