//! Two storers that freeze the same collection at the same moment.
//!
//! The lease keeps them apart. This fault releases the lease while its holder is freezing,
//! as if the lease had run out. The other storer acquires it then, while the first goes on.

use std::time::Duration;

use maskline_test_support::{
    environment::{Environment, Server},
    proxy::Proxy,
    wait::within,
};
use tokio::time::sleep;

use super::{
    checks::{check, remove},
    job_under_test::JobUnderTest,
    replicas::Replicas,
    trial::Trial,
};

/// How much later S3's answers come, so that a freeze lasts long enough.
const LATENCY: Duration = Duration::from_millis(300);

/// How many jobs are tried for each fault. A freeze may be over before the other storer
/// looks for work.
const TRIES: u32 = 3;

/// The text that a storer logs when it has frozen a collection.
const FROZEN: &str = "the dataset is frozen";

/// Lets two storers freeze the same collection at the same moment. There must be one dataset.
pub async fn raced(trial: &mut Trial) {
    for tries in 1.. {
        // The proxy is in front of S3 until it is dropped.
        let (mut job, objects) = enqueue(trial).await;
        within("a storer that freezes", release_lease(&job)).await;
        let has_ended = check(&mut job, trial).await;
        if storers_that_froze(&job) == 2 {
            trial.record_fault("two storers froze the collection");
        }
        remove(job, has_ended, trial).await;
        drop(objects);
        if !has_ended || trial.faults() >= trial.amount.faults {
            break;
        }
        if tries == TRIES * trial.amount.faults {
            trial.record_problem(format_args!(
                "{tries} tries, and too few were frozen by both"
            ));
            break;
        }
    }
}

/// A job with two storers for which S3 is slow.
async fn enqueue(trial: &Trial) -> (JobUnderTest, Proxy) {
    let environment = Environment::servers().await;
    let objects = Proxy::to(environment.host_and_port(Server::Objects)).await;
    objects.set_latency(LATENCY);
    let others = ["scraper", "validator", "labeler"];
    let mut replicas = Replicas::start(&environment, &others).await;
    let eager = ("MASKLINE_WORKER_INTERVAL".to_owned(), "0.05".to_owned());
    for _ in 0..2 {
        let slow = environment.variable_through(objects.address, Server::Objects);
        let variables = vec![slow, eager.clone()];
        replicas.add(&environment, "storer", variables).await;
    }
    let job = JobUnderTest::enqueue_with(trial, environment, replicas, &[]).await;
    (job, objects)
}

/// Releases the lease on the freezing as soon as a storer holds it.
async fn release_lease(job: &JobUnderTest) {
    let catalog = &job.stores.catalog;
    loop {
        let work = catalog.open_work("freeze").await;
        let work = work.expect("the catalog answers").into_iter();
        let mut held = work.filter(|lease| lease.owner.is_some());
        if let Some(lease) = held.next() {
            let released = catalog.release_lease(&lease).await;
            return released.expect("the catalog answers");
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// How many storers have logged that they froze the collection.
fn storers_that_froze(job: &JobUnderTest) -> usize {
    let replicas = job.replicas.all.iter();
    replicas
        .filter(|replica| replica.process.log().contains(FROZEN))
        .count()
}
