//! Trainers share the trials of a study, and one that dies changes nothing.

use std::time::Duration;

use maskline_messages::StudyId;
use maskline_test_support::{environment::Environment, wait::within};
use maskline_tests::{
    collection::Collection,
    process::{Pipeline, Process},
};
use serde_json::Value;

/// A short study of small networks.
const TUNE: [&str; 12] = [
    "tune",
    "masks",
    "--network",
    "mobilenet_v3_small",
    "--trials",
    "6",
    "--epochs",
    "4",
    "--pixels",
    "40",
    "--batch",
    "8",
];

pub async fn two_trainers_of_which_one_is_killed_tune_as_one_does(environment: &mut Environment) {
    let alone = Environment::embedded();
    freeze(&alone).await;
    let trainer = Pipeline::start(&alone, &["trainer"]).await;
    let expected = tune(&alone).await;
    trainer.stop().await;
    let (study, trials) = expected.split_last().expect("the study comes last");
    assert_eq!(study["state"], "done", "{study:#}");
    assert_eq!(study["run"]["state"], "done", "{study:#}");
    assert_eq!(trials.len(), 6);
    let done = |epochs: u64| {
        let rungs = trials.iter().flat_map(rungs);
        rungs.filter(|rung| rung["epochs"] == epochs).count()
    };
    assert_eq!(done(1), 6);
    assert!((2..6).contains(&done(2)), "{trials:#?}");
    assert!((1..=done(2)).contains(&done(4)), "{trials:#?}");

    freeze(environment).await;
    let mut first = Process::start(environment, "trainer").await;
    let second = Pipeline::start(environment, &["trainer"]).await;
    let asked = environment.json(&TUNE).await;
    let id: StudyId = text(&asked[0]["study"]).parse().expect("a study's id");
    within("both trainers train trials", both_train(environment, id)).await;
    first.kill().await;
    // The command that asks for it again waits for the study that is there.
    let shared = tune(environment).await;
    assert_eq!(shared.len(), expected.len());
    for (shared, expected) in shared.iter().zip(&expected) {
        assert_eq!(same(shared), same(expected));
    }

    // Only the best trial has become a model, and nothing else is listed.
    let models = environment.json(&["models"]).await;
    assert_eq!(models.len(), 1, "{models:#?}");
    assert_eq!(models[0]["id"], shared[6]["model"]);
    second.stop().await;
}

/// Makes the first version of the collection `masks`.
async fn freeze(environment: &Environment) {
    let drawn = Collection::faces(70_000, 20);
    let folder = environment.folder().join("folder");
    drawn.write(&folder);
    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;
    let folder = folder.to_str().expect("a plain path");
    let source = ["enqueue", "folder", folder, "--label-from", "folder"];
    let into = ["--collection", "masks", "--wait"];
    let job = environment.json(&[&source[..], &into].concat()).await;
    assert_eq!(job[0]["state"], "frozen", "{job:#?}");
    pipeline.stop().await;
}

/// Waits for the study. Returns its trials, and the study last.
async fn tune(environment: &Environment) -> Vec<Value> {
    environment.json(&[&TUNE[..], &["--wait"]].concat()).await
}

/// Waits until there is a result and two trainers are at work.
async fn both_train(environment: &Environment, study: StudyId) {
    let catalog = environment.catalog().await;
    loop {
        let open = catalog.open_work("trial").await.expect("it answers");
        let mut owners: Vec<_> = open
            .iter()
            .filter_map(|lease| lease.owner.as_ref())
            .collect();
        owners.dedup();
        let results = catalog.results(study).await.expect("it answers");
        if owners.len() == 2 && !results.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn rungs(trial: &Value) -> impl Iterator<Item = &Value> {
    trial["rungs"].as_array().expect("a list of rungs").iter()
}

/// What must not depend on who trained the trials. The published run names the sources of the
/// images, and these and the report lie in the environment's folder.
fn same(line: &Value) -> Value {
    let mut line = line.clone();
    if let Some(fields) = line.as_object_mut() {
        fields.remove("report");
        fields.retain(|name, value| name != "run" || value.is_string());
    }
    line
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}
