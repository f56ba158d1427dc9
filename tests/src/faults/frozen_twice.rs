//! Two storers that freeze the same job at the same moment.
//!
//! The lease keeps them apart. This fault releases the lease while its holder is freezing,
//! as if the lease had run out. The other storer acquires it then, while the first goes on.

use std::time::Duration;

use maskline_storage::records::Work;
use maskline_test_support::{
    environment::{Environment, Server},
    proxy::Proxy,
    wait::within,
};
use tokio::time::sleep;

use super::{
    checks::{check, check_and_remove},
    job_under_test::JobUnderTest,
    replicas::Replicas,
    trial::Trial,
};

/// How much later S3's answers come, so that a freeze lasts long enough.
const LATENCY: Duration = Duration::from_millis(300);

/// How many jobs are tried for each fault. A freeze may be over before the other storer
/// looks for work.
const TRIES: u32 = 3;

/// The text that a storer logs when it has frozen a job.
const FROZEN: &str = "the dataset is frozen";

/// Lets two storers freeze the same job at the same moment. There must be one dataset.
pub async fn raced(trial: &mut Trial) {
    let environment = Environment::servers().await;
    let objects = Proxy::to(environment.host_and_port(Server::Objects)).await;
    objects.set_latency(LATENCY);
    let others = ["scraper", "validator", "labeler", "trainer"];
    let mut replicas = Replicas::start(&environment, &others).await;
    let eager = ("MASKLINE_WORKER_INTERVAL".to_owned(), "0.05".to_owned());
    for _ in 0..2 {
        let slow = environment.variable_through(objects.address, Server::Objects);
        let variables = vec![slow, eager.clone()];
        replicas.add(&environment, "storer", variables).await;
    }
    let mut job = JobUnderTest::enqueue_with(trial, environment, replicas, &[]).await;
    for tries in 1.. {
        within("a storer that freezes the job", release_lease(&job)).await;
        if !check(&mut job, trial).await {
            break;
        }
        if storers_that_froze(&job) == 2 {
            trial.record_fault("two storers froze the job");
        }
        if trial.faults() >= trial.amount.faults {
            break;
        }
        if tries == TRIES * trial.amount.faults {
            trial.record_problem(format_args!(
                "{tries} tries, and too few were frozen by both"
            ));
            break;
        }
        job.enqueue_again().await;
    }
    check_and_remove(job, trial).await;
}

/// Releases the lease on the job's freezing as soon as a storer holds it.
async fn release_lease(job: &JobUnderTest) {
    let catalog = &job.stores.catalog;
    loop {
        let work = catalog.open_work("freeze").await;
        let work = work.expect("the catalog answers").into_iter();
        let held = work.filter(|lease| lease.owner.is_some());
        let mut of_job = held.filter(|lease| lease.work == Work::Freeze(job.id));
        if let Some(lease) = of_job.next() {
            let released = catalog.release_lease(&lease).await;
            return released.expect("the catalog answers");
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// How many storers have logged that they froze the job.
fn storers_that_froze(job: &JobUnderTest) -> usize {
    let id = job.id.to_string();
    let froze = |log: String| {
        let mut lines = log.lines();
        lines.any(|line| line.contains(FROZEN) && line.contains(&id))
    };
    let replicas = job.replicas.all.iter();
    replicas
        .filter(|replica| froze(replica.process.log()))
        .count()
}
