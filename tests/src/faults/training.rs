//! Trainers that are killed in the middle of an epoch.

use bytes::Bytes;
use maskline_messages::ObjectKey;
use maskline_storage::records::{Run, RunState};
use maskline_test_support::environment::Environment;
use serde_json::Value;

use super::{
    checks::check_and_remove,
    job_under_test::{JobUnderTest, until},
    replicas::{Replica, Replicas},
    trial::Trial,
};
use crate::process::Pipeline;

/// The trainers of the disturbed job.
const TRAINERS: [&str; 2] = ["trainer"; 2];

/// The text that a trainer logs when it resumes a run from another trainer's checkpoint.
const RESUMES: &str = "resuming from a checkpoint";
/// The texts that a trainer logs when it begins or resumes a run. The quotes are those of the
/// log's JSON.
const TRAINS: [&str; 2] = ["\"training\"", RESUMES];

/// How many epochs there are for each kill. A fast trainer ends further epochs before it is
/// killed.
const EPOCHS_PER_KILL: u32 = 3;

/// Kills the trainer in the middle of one epoch after the other. Another trainer must resume
/// from the checkpoint, and the model must be the one that an undisturbed trainer makes.
pub async fn killed(trial: &mut Trial) {
    let epochs = (EPOCHS_PER_KILL * trial.amount.faults + 1).to_string();
    let undisturbed = enqueue(trial, &["trainer"], &epochs).await;
    until(async || undisturbed.is_over().await).await;
    let expected = model(&undisturbed).await;
    check_and_remove(undisturbed, trial).await;

    let mut job = enqueue(trial, &TRAINERS, &epochs).await;
    let mut epoch = 1;
    while trial.faults() < trial.amount.faults {
        let is_reached = async || match run(&job).await {
            Some(run) => run.epoch >= epoch || run.state != RunState::Open,
            None => false,
        };
        if !until(is_reached).await {
            trial.record_problem(format_args!("epoch {epoch} is not reached"));
            break;
        }
        trial.random_pause(0.0..0.3).await;
        let before = run(&job).await.expect("the run is in the catalog");
        let index = job.replicas.all.iter().position(trains);
        let Some(index) = index.filter(|_| before.state == RunState::Open) else {
            trial.record_problem("the run ended before the trainer was killed often enough");
            break;
        };
        let title = job.replicas.all[index].title();
        job.replicas.kill_and_restart(&job.environment, index).await;
        trial.record_fault(format_args!(
            "kill -9 of {title} after epoch {}",
            before.epoch
        ));
        let replicas = || job.replicas.all.iter();
        let is_resumed = || replicas().any(|replica| replica.process.log().contains(RESUMES));
        if !until(async || is_resumed()).await {
            trial.record_problem("no trainer resumes from the checkpoint");
            break;
        }
        epoch = before.epoch + 1;
    }
    until(async || job.is_over().await).await;
    let found = model(&job).await;
    if found.report != expected.report {
        let (found, expected) = (&found.report, &expected.report);
        trial.record_problem(format_args!("the metrics are {found}, not {expected}"));
    }
    if found.weights != expected.weights {
        trial.record_problem("the weights differ from those of the undisturbed trainer");
    }
    check_and_remove(job, trial).await;
}

async fn enqueue(trial: &Trial, trainers: &[&'static str], epochs: &str) -> JobUnderTest {
    let environment = Environment::servers().await;
    let services = [&Pipeline::STAGES, trainers].concat();
    let replicas = Replicas::start(&environment, &services).await;
    let network = ["--train", "mobilenet_v3_small", "--pixels", "64"];
    let settings = ["--batch", "8", "--epochs", epochs];
    let args = [network, settings].concat();
    JobUnderTest::enqueue_with(trial, environment, replicas, &args).await
}

/// Returns whether the replica trains the run. Its process has logged so. The log of a process
/// that was killed is gone with it.
fn trains(replica: &Replica) -> bool {
    let log = replica.process.log();
    TRAINS.iter().any(|begin| log.contains(begin))
}

/// The job's run, once there is one.
async fn run(job: &JobUnderTest) -> Option<Run> {
    let runs = job.stores.catalog.runs(None, 1).await;
    runs.expect("the catalog answers").pop()
}

/// The model that a trainer published.
struct Published {
    weights: Bytes,
    /// The report without what depends on the speed of the machine.
    report: Value,
}

async fn model(job: &JobUnderTest) -> Published {
    let run = run(job).await.expect("the job asked for a run");
    let file = async |name: &str| {
        let key: ObjectKey = format!("models/{}/{name}", run.id).parse().expect("a key");
        let file = job.stores.objects.get(&key).await;
        file.expect("a published model is whole")
    };
    let report = file("report.json").await;
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let without_speed = |epoch: &Value| {
        let mut epoch = epoch.clone();
        epoch["images_per_second"].take();
        epoch
    };
    let epochs = report["epochs"].as_array().expect("a list").iter();
    Published {
        weights: file("model.safetensors").await,
        report: serde_json::json!({
            "epochs": epochs.map(without_speed).collect::<Vec<_>>(),
            "accuracy": report["accuracy"],
            "loss": report["loss"],
            "confusion": report["confusion"],
        }),
    }
}
