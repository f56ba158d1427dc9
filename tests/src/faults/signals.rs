//! Services that are killed, or asked to stop, at a random moment.

use std::collections::BTreeMap;

use maskline_test_support::{collector::Collector, environment::Environment};

use super::{
    checks::check_and_remove,
    job_under_test::JobUnderTest,
    replicas::{Replicas, TWO_OF_EACH},
    trial::Trial,
};

/// The seconds between two faults. Some faults meet a service that has just started.
const PAUSE: std::ops::Range<f64> = 0.2..2.0;

/// How many faults a job gets. The rest of the job is undisturbed.
const FAULTS_PER_JOB: u32 = 25;

/// Kills a random service with SIGKILL at a random moment, and starts it again.
pub async fn kill(trial: &mut Trial) {
    while trial.needs_another_job(trial.amount.faults) {
        let environment = Environment::servers().await;
        let replicas = Replicas::start(&environment, &TWO_OF_EACH).await;
        let mut job = JobUnderTest::enqueue(trial, environment, replicas).await;
        disturb(trial, &mut job, async |trial, job, index| {
            let title = job.replicas.all[index].title();
            job.replicas.kill_and_restart(&job.environment, index).await;
            trial.record_fault(format_args!("kill -9 of {title}"));
        })
        .await;
        check_and_remove(job, trial).await;
    }
}

/// Sends SIGTERM to a random service. It must finish the messages that it is handling and
/// end with success, and no message may be begun twice.
///
/// The spans show how often a message was begun. Each attempt has one, and a service sends
/// its last spans when it stops.
pub async fn terminate(trial: &mut Trial) {
    while trial.needs_another_job(trial.amount.faults) {
        let collector = Collector::start().await;
        let mut environment = Environment::servers().await;
        environment.trace_to(&collector);
        let replicas = Replicas::start(&environment, &TWO_OF_EACH).await;
        let mut job = JobUnderTest::enqueue(trial, environment, replicas).await;
        disturb(trial, &mut job, async |trial, job, index| {
            let title = job.replicas.all[index].title();
            let stopped = job.replicas.stop_and_restart(&job.environment, index).await;
            trial.record_fault(format_args!("SIGTERM of {title}"));
            if let Err(problem) = stopped {
                trial.record_problem(problem);
            }
        })
        .await;
        let redelivered = job.environment.redelivered().await;
        check_and_remove(job, trial).await;
        check_begun_once(trial, &collector, redelivered);
    }
}

/// Calls `cause` with the index of a random replica at random moments, until the job is over or
/// has had its faults.
async fn disturb(
    trial: &mut Trial,
    job: &mut JobUnderTest,
    cause: impl AsyncFn(&mut Trial, &mut JobUnderTest, usize),
) {
    let wanted = trial.amount.faults.min(trial.faults() + FAULTS_PER_JOB);
    while trial.faults() < wanted {
        trial.random_pause(PAUSE).await;
        if job.is_over().await {
            break;
        }
        let index = trial.random_index(TWO_OF_EACH.len());
        cause(trial, job, index).await;
    }
}

fn check_begun_once(trial: &mut Trial, collector: &Collector, redelivered: u64) {
    let mut begun: BTreeMap<String, u32> = BTreeMap::new();
    let spans = collector.named("process ").into_iter();
    for span in spans.filter(|span| !span.is_postponed()) {
        let message = span.text("messaging.message.id");
        let message = message.expect("every message has an id");
        *begun
            .entry(format!("{}: {message}", span.name))
            .or_default() += 1;
    }
    let again = begun.iter().filter(|(_, times)| **times > 1);
    let again: Vec<&String> = again.map(|(message, _)| message).collect();
    trial.log(format_args!(
        "{} messages begun, {} of them twice; RabbitMQ redelivered {redelivered}",
        begun.len(),
        again.len()
    ));
    if begun.is_empty() {
        trial.record_problem("no service sent its spans");
    }
    for message in again {
        trial.record_problem(format_args!("begun more than once: {message}"));
    }
}

/// Causes no fault.
pub async fn none(trial: &mut Trial) {
    let environment = Environment::servers().await;
    let replicas = Replicas::start(&environment, &TWO_OF_EACH).await;
    let job = JobUnderTest::enqueue(trial, environment, replicas).await;
    trial.record_fault("nothing");
    check_and_remove(job, trial).await;
}
