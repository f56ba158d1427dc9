//! One process with all services, whose queue, objects and catalog are on its disk.

use maskline_test_support::environment::Environment;

use super::{
    checks::check_and_remove, job_under_test::JobUnderTest, replicas::Replicas, trial::Trial,
};

/// How often the process is killed in one job.
const KILLS_PER_JOB: u32 = 20;

/// Kills `maskline run` with SIGKILL at a random moment and starts it again.
pub async fn killed(trial: &mut Trial) {
    while trial.needs_another_job(trial.amount.faults) {
        let environment = Environment::embedded();
        let replicas = Replicas::start(&environment, &["run"]).await;
        let mut job = JobUnderTest::enqueue(trial, environment, replicas).await;
        let wanted = trial.amount.faults.min(trial.faults() + KILLS_PER_JOB);
        while trial.faults() < wanted {
            trial.random_pause(0.0..1.5).await;
            if job.is_over().await {
                break;
            }
            let in_flight = job.in_flight().await;
            job.replicas.kill_and_restart(&job.environment, 0).await;
            trial.record_fault(format_args!(
                "kill -9 of the one process with {in_flight} candidates in flight"
            ));
        }
        check_and_remove(job, trial).await;
    }
}
