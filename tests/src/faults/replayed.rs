//! Messages that are dead-lettered because something outside is wrong, and replayed when it
//! is right again.
//!
//! The messages of the trainer's queue are left out. A trainer only records the runs that
//! they ask for, and nothing outside can make that fail.

use maskline_messages::{ImageId, ObjectKey, Queue};
use maskline_test_support::environment::Environment;
use mongodb::bson::{Document, doc};

use super::{
    checks::check_and_remove,
    expected::Expected,
    job_under_test::{JobUnderTest, depths, until},
    replicas::{Replicas, TWO_OF_EACH},
    trial::Trial,
};
use crate::{
    collection::EndState,
    site::{Behaviour, PARTS, Site, part},
};

/// How many images of each stage have something wrong with them.
const SPOILT: usize = 3;

/// The variables of a service that dead-letters a message after two attempts.
fn impatient() -> Vec<(String, String)> {
    vec![("MASKLINE_RETRY_ATTEMPTS".to_owned(), "2".to_owned())]
}

pub async fn replayed(trial: &mut Trial) {
    for _ in 0..trial.amount.faults {
        lists_not_served(trial).await;
        one_stage_after_another(trial).await;
    }
}

/// The lists of the jobs are not served. The jobs must fail, and must go on after the replay.
async fn lists_not_served(trial: &mut Trial) {
    let environment = Environment::servers().await;
    let mut replicas = Replicas::start(&environment, &TWO_OF_EACH[1..5]).await;
    replicas.add(&environment, "scraper", impatient()).await;
    let expected = Expected::for_trial(trial).await;
    let site = Site::serve(&expected.collection, Behaviour::default()).await;
    site.set_busy((0..PARTS).map(part));
    let job = JobUnderTest::enqueue_site(expected, site, environment, replicas, &[]).await;
    check_dead_lettered(trial, &job, Queue::ScraperSources, PARTS).await;
    let failed = until(async || job.is_over().await).await;
    if !failed {
        trial.record_problem("a job whose source was dead-lettered has not failed");
    }
    job.site.set_busy([]);
    replay(&job, &[]).await;
    until(async || job.is_quiet().await).await;
    check_and_remove(job, trial).await;
}

/// Starts each service when the one before it has done everything that it could. The messages
/// that end the expansions are replayed last: a job is frozen when nothing is in flight, and
/// what was dead-lettered is not in flight.
async fn one_stage_after_another(trial: &mut Trial) {
    let environment = Environment::servers().await;
    let mut job = JobUnderTest::enqueue(trial, environment, Replicas::default()).await;
    let stored = job.expected.collection.entries.iter();
    let stored = stored.filter(|entry| entry.end_state == EndState::Stored);
    let paths = stored.clone().take(SPOILT).map(|entry| entry.path.clone());
    let paths: Vec<String> = paths.collect();
    let files = stored.skip(SPOILT).filter_map(|entry| entry.file.as_ref());
    let images: Vec<ImageId> = files.map(|file| ImageId::of(file)).collect();

    job.site.set_busy(paths);
    start(&mut job, "scraper").await;
    check_dead_lettered(trial, &job, Queue::ScraperCandidates, SPOILT).await;
    job.site.set_busy([]);
    replay(&job, &[]).await;
    wait_until_idle(&job).await;

    let raw = remove(&job, images[..SPOILT].iter().map(ObjectKey::raw)).await;
    start(&mut job, "validator").await;
    check_dead_lettered(trial, &job, Queue::ValidatorImages, SPOILT).await;
    put_back(&job, raw).await;
    replay(&job, &[]).await;
    wait_until_idle(&job).await;

    let records = hide_records(&job).await;
    let waiting = waiting(&job, Queue::LabelerImages).await;
    start(&mut job, "labeler").await;
    check_dead_lettered(trial, &job, Queue::LabelerImages, waiting).await;
    restore_records(&job, records).await;
    replay(&job, &[]).await;
    wait_until_idle(&job).await;

    let records = hide_records(&job).await;
    let normalized = images[SPOILT..2 * SPOILT].iter().map(ObjectKey::normalized);
    let normalized = remove(&job, normalized).await;
    start(&mut job, "storer").await;
    check_dead_lettered(trial, &job, Queue::StorerImages, SPOILT).await;
    check_dead_lettered(trial, &job, Queue::StorerJobs, PARTS).await;
    restore_records(&job, records).await;
    put_back(&job, normalized).await;
    replay(&job, &dead_letters_of(&job, Queue::StorerImages).await).await;
    wait_until_idle(&job).await;
    replay(&job, &[]).await;
    start(&mut job, "trainer").await;
    check_and_remove(job, trial).await;
}

async fn start(job: &mut JobUnderTest, service: &'static str) {
    let replicas = &mut job.replicas;
    replicas.add(&job.environment, service, impatient()).await;
}

/// Waits until `expected` messages of the queue are dead-lettered. Each dead letter must have
/// an error and a trace.
async fn check_dead_lettered(trial: &mut Trial, job: &JobUnderTest, queue: Queue, expected: usize) {
    let all_there = async || dead_letters_of(job, queue).await.len() >= expected;
    if !until(all_there).await {
        trial.record_problem(format_args!("{queue}: its messages are not dead-lettered"));
    }
    let list = ["dead-letters", "list", "--limit", "100000"];
    let dead_letters = job.environment.json(&list).await;
    let of_queue = dead_letters
        .iter()
        .filter(|dead_letter| dead_letter["queue"] == queue.name());
    for dead_letter in of_queue.clone() {
        if dead_letter["error"].as_str().is_none_or(str::is_empty) || dead_letter["trace"].is_null()
        {
            trial.record_problem(format_args!(
                "a dead letter without its error or trace: {dead_letter}"
            ));
        }
    }
    let error = of_queue
        .clone()
        .next()
        .map(|dead_letter| dead_letter["error"].clone());
    trial.record_fault(format_args!(
        "{} of {queue} dead-lettered: {}",
        of_queue.count(),
        error.unwrap_or_default()
    ));
}

/// The ids of the queue's dead letters.
async fn dead_letters_of(job: &JobUnderTest, queue: Queue) -> Vec<String> {
    let dead_letters = job.broker.dead_letters(usize::MAX >> 1).await;
    let dead_letters = dead_letters.expect("the broker answers").into_iter();
    let of_queue = dead_letters.filter(|dead_letter| dead_letter.queue == queue.name());
    of_queue.map(|dead_letter| dead_letter.id.0).collect()
}

/// Replays the dead letters with these ids, or all of them where none is given.
async fn replay(job: &JobUnderTest, ids: &[String]) {
    let which: Vec<&str> = match ids {
        [] => vec!["--all"],
        ids => ids.iter().map(String::as_str).collect(),
    };
    let args = [&["dead-letters", "replay"], &which[..]].concat();
    job.environment.maskline(&args).await;
}

/// How many messages wait in the queue.
async fn waiting(job: &JobUnderTest, queue: Queue) -> usize {
    let depths = depths(&*job.broker).await;
    usize::try_from(depths[queue.name()].ready).expect("a small collection")
}

/// Waits until the services that are running have nothing to do.
async fn wait_until_idle(job: &JobUnderTest) {
    let services = job.replicas.all.iter().map(|replica| replica.service);
    let services: Vec<&str> = services.collect();
    let is_idle = async || {
        let depths = depths(&*job.broker).await;
        let mut theirs = depths
            .iter()
            .filter(|(queue, _)| services.iter().any(|service| queue.starts_with(service)));
        let in_flight = job.replicas.messages_in_flight().await;
        theirs.all(|(_, depth)| depth.ready + depth.delayed == 0) && in_flight == 0.0
    };
    assert!(until(is_idle).await, "the services do not come to rest");
}

type Objects = Vec<(ObjectKey, bytes::Bytes)>;

/// Removes objects from the store and returns them.
async fn remove(job: &JobUnderTest, keys: impl Iterator<Item = ObjectKey>) -> Objects {
    let objects = &job.stores.objects;
    let mut removed = vec![];
    for key in keys {
        let bytes = objects.get(&key).await.expect("a service has put it there");
        objects.delete(&key).await.expect("it can be removed");
        removed.push((key, bytes));
    }
    removed
}

async fn put_back(job: &JobUnderTest, objects: Objects) {
    for (key, bytes) in objects {
        let put = job.stores.objects.put(&key, bytes).await;
        put.expect("the object store takes it");
    }
}

/// The records of a job and of its collection, each with the name of the documents that it is one
/// of.
type Records = Vec<(&'static str, Document)>;

/// Removes the jobs and their collection from the catalog and returns them. To the services it is
/// as if they had the address of another catalog.
async fn hide_records(job: &JobUnderTest) -> Records {
    let record = job.stores.catalog.job(job.id).await;
    let record = record
        .expect("the catalog answers")
        .expect("the job was enqueued");
    let jobs = job
        .sources
        .iter()
        .map(|source| ("jobs", source.to_string()));
    let collection = ("collections", record.collection.to_string());
    let mut hidden = vec![];
    for (name, id) in jobs.chain([collection]) {
        let documents = documents(job, name).await;
        let removed = documents.find_one_and_delete(doc! { "_id": id }).await;
        let removed = removed.expect("the catalog answers");
        hidden.push((name, removed.expect("it is recorded")));
    }
    hidden
}

async fn restore_records(job: &JobUnderTest, records: Records) {
    for (name, record) in records {
        let restored = documents(job, name).await.insert_one(record).await;
        restored.expect("the catalog takes it");
    }
}

async fn documents(job: &JobUnderTest, name: &str) -> mongodb::Collection<Document> {
    let database = job.environment.database().await;
    database.expect("the catalog is MongoDB").collection(name)
}
