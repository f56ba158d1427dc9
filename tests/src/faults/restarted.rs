//! RabbitMQ is stopped and started again while messages are in flight.

use super::{
    checks::check_and_remove,
    job_under_test::JobUnderTest,
    node::{Node, Signal},
    replicas::{Replicas, TWO_OF_EACH},
    trial::Trial,
};

/// For how many seconds it runs before it is stopped.
const UP: std::ops::Range<f64> = 0.2..4.0;
/// For how many seconds it is away.
const AWAY: std::ops::Range<f64> = 0.5..4.0;

const RESTARTS_PER_JOB: u32 = 5;

/// Stops RabbitMQ by SIGTERM and by SIGKILL in turn.
pub async fn rabbitmq(trial: &mut Trial) {
    let node = match Node::start().await {
        Ok(node) => node,
        Err(why) => return trial.skip(why),
    };
    while trial.needs_another_job(trial.amount.faults) {
        let environment = node.environment().await;
        let replicas = Replicas::start(&environment, &TWO_OF_EACH).await;
        let job = JobUnderTest::enqueue(trial, environment, replicas).await;
        let wanted = trial.amount.faults.min(trial.faults() + RESTARTS_PER_JOB);
        while trial.faults() < wanted {
            trial.random_pause(UP).await;
            let in_flight = job.in_flight().await;
            if in_flight == 0 {
                break;
            }
            let signal = [Signal::Term, Signal::Kill][trial.faults() as usize % 2];
            node.stop(signal).await;
            trial.random_pause(AWAY).await;
            node.restart().await;
            trial.record_fault(format_args!(
                "RabbitMQ stopped by {signal:?} with {in_flight} candidates in flight, and started"
            ));
        }
        check_and_remove(job, trial).await;
    }
}
