//! Trainers that are killed in the middle of an epoch.

use bytes::Bytes;
use maskline_messages::ObjectKey;
use maskline_storage::records::{Run, RunState};
use serde_json::Value;

use super::{Trial, crew::Crew, crew::Member, round::Round, round::until};
use crate::{place::Place, process::Pipeline};

/// Trainers that are at hand.
const TRAINERS: [&str; 2] = ["trainer"; 2];

/// What a trainer says that takes a run up where another left it.
const GOES_ON: &str = "going on from a checkpoint";
/// What one says that begins or goes on.
const TRAINS: [&str; 2] = ["\"training\"", GOES_ON];

/// Epochs of which one ends in a kill: on a fast machine a trainer ends another before it
/// is killed.
const EPOCHS_PER_KILL: u32 = 3;

/// A kill in the middle of one epoch after the other; another goes on from the checkpoint, and what
/// comes of it is what an undisturbed trainer makes.
pub async fn killed(trial: &mut Trial) {
    let epochs = (EPOCHS_PER_KILL * trial.dose.faults + 1).to_string();
    let undisturbed = begin(trial, &["trainer"], &epochs).await;
    until(async || undisturbed.is_over().await).await;
    let expected = model(&undisturbed).await;
    undisturbed.end(trial).await;

    let mut round = begin(trial, &TRAINERS, &epochs).await;
    let mut epoch = 1;
    while trial.faults() < trial.dose.faults {
        let reached = async || match run(&round).await {
            Some(run) => run.epoch >= epoch || run.state != RunState::Open,
            None => false,
        };
        if !until(reached).await {
            trial.problem(format_args!("epoch {epoch} is not reached"));
            break;
        }
        trial.moment(0.0..0.3).await;
        let before = run(&round).await.expect("it is there");
        let members = round.crew.members.iter();
        let index = members.enumerate().find(|(_, member)| trains(member));
        let Some((index, _)) = index.filter(|_| before.state == RunState::Open) else {
            trial.problem("the run has ended before the trainer could be killed often enough");
            break;
        };
        let title = round.crew.members[index].title();
        round.crew.kill(&round.place, index).await;
        trial.struck(format_args!(
            "kill -9 of {title} after epoch {}",
            before.epoch
        ));
        let members = || round.crew.members.iter();
        let taken_up = || members().any(|member| member.process.said().contains(GOES_ON));
        if !until(async || taken_up()).await {
            trial.problem("nobody goes on from the checkpoint");
            break;
        }
        epoch = before.epoch + 1;
    }
    until(async || round.is_over().await).await;
    let found = model(&round).await;
    if found.report != expected.report {
        let (found, expected) = (&found.report, &expected.report);
        trial.problem(format_args!("the metrics are {found}, not {expected}"));
    }
    if found.weights != expected.weights {
        trial.problem("the weights are others");
    }
    round.end(trial).await;
}

async fn begin(trial: &Trial, trainers: &[&'static str], epochs: &str) -> Round {
    let place = Place::servers().await;
    let services = [&Pipeline::STAGES, trainers].concat();
    let crew = Crew::start(&place, &services).await;
    let network = ["--train", "mobilenet_v3_small", "--pixels", "64"];
    let course = ["--batch", "8", "--epochs", epochs];
    Round::begin_with(trial, place, crew, &[network, course].concat()).await
}

/// Whether it has the run: another is started in the place of one that is killed, so
/// that only one that lives has said so.
fn trains(member: &Member) -> bool {
    let said = member.process.said();
    TRAINS.iter().any(|begin| said.contains(begin))
}

/// The job's run, once there is one.
pub async fn run(round: &Round) -> Option<Run> {
    let runs = round.stores.catalog.runs(None, 1).await;
    runs.expect("the catalog answers").pop()
}

/// What a trainer published.
struct Published {
    weights: Bytes,
    /// Without what depends on how long it took.
    report: Value,
}

async fn model(round: &Round) -> Published {
    let run = run(round).await.expect("the job asked for one");
    let file = async |name: &str| {
        let key = ObjectKey::model(run.id, name).expect("a plain name");
        let file = round.stores.objects.get(&key).await;
        file.expect("a published model is whole")
    };
    let report = file("report.json").await;
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let timeless = |epoch: &Value| {
        let mut epoch = epoch.clone();
        epoch["images_per_second"].take();
        epoch
    };
    let epochs = report["epochs"].as_array().expect("a list").iter();
    Published {
        weights: file("model.safetensors").await,
        report: serde_json::json!({
            "epochs": epochs.map(timeless).collect::<Vec<_>>(),
            "accuracy": report["accuracy"],
            "loss": report["loss"],
            "confusion": report["confusion"],
        }),
    }
}
