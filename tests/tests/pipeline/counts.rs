//! The counts add up, and they are those of the images that were enqueued.

use image::GenericImageView;
use maskline_test_support::environment::Environment;
use maskline_tests::{
    collection::{Collection, counts_of},
    dataset::FrozenDataset,
    process::Pipeline,
    site::{Behaviour, Site},
};
use serde_json::{Value, json};

pub async fn a_list_of_urls_becomes_a_dataset_and_a_model_and_the_counts_are_right(
    environment: &mut Environment,
) {
    let collection = Collection::faces(1, 80)
        .with_look_alikes(1_000)
        .with_rejects(2_000)
        .with_dead_links();
    let behaviour = Behaviour {
        busy_once: ["with_mask/face-7.jpg".to_owned()].into(),
        ..Behaviour::default()
    };
    let site = Site::serve(&collection, behaviour).await;
    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;
    let trainer = Pipeline::start(environment, &["trainer"]).await;
    for service in pipeline.processes().iter().chain(trainer.processes()) {
        assert_eq!(service.get("/readyz").await.0, 200);
    }

    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let training = ["--train", "mobilenet_v3_small", "--pixels", "64"];
    let settings = ["--epochs", "10", "--batch", "16"];
    let job = environment
        .json(&[&args[..], &training, &settings].concat())
        .await;

    assert_eq!(job[0]["state"], "done", "{job:#?}");
    assert_eq!(counts_of(&job[0]), collection.counts());
    assert_as_expected(&frozen(environment, &job[0]).await, &collection);
    assert_learnt(environment, &job[0]).await;
    pipeline.stop().await;
    trainer.stop().await;
}

pub async fn a_folder_of_classes_becomes_a_dataset_and_the_counts_are_right(
    environment: &mut Environment,
) {
    let collection = Collection::faces(5_000, 10)
        .with_look_alikes(6_000)
        .with_rejects(7_000);
    let photos = environment.folder().join("photos");
    collection.write(&photos);
    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;

    let photos = photos.to_str().expect("a plain path");
    let args = [
        "enqueue",
        "folder",
        photos,
        "--label-from",
        "folder",
        "--wait",
    ];
    let job = environment.json(&args).await;

    assert_eq!(job[0]["state"], "frozen", "{job:#?}");
    assert_eq!(counts_of(&job[0]), collection.counts());
    assert_as_expected(&frozen(environment, &job[0]).await, &collection);
    pipeline.stop().await;
}

pub async fn an_archive_of_classes_becomes_the_same_dataset_as_its_folder(
    environment: &mut Environment,
) {
    let collection = Collection::faces(8_000, 10).with_rejects(9_000);
    let photos = environment.folder().join("photos");
    collection.write(&photos);
    let archive = environment.folder().join("photos.tar.gz");
    let packed = std::process::Command::new("tar")
        .arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(&photos)
        .arg(".")
        .status();
    assert!(packed.expect("tar runs").success());
    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;

    let archive = archive.to_str().expect("a plain path");
    let args = ["enqueue", "archive", archive];
    let labels = ["--label-from", "folder", "--wait"];
    let job = environment.json(&[&args[..], &labels].concat()).await;

    assert_eq!(job[0]["state"], "frozen", "{job:#?}");
    assert_eq!(counts_of(&job[0]), collection.counts());
    assert_as_expected(&frozen(environment, &job[0]).await, &collection);
    pipeline.stop().await;
}

async fn frozen(environment: &Environment, job: &Value) -> FrozenDataset {
    let dataset = job["dataset"].as_str().expect("the job has a dataset");
    FrozenDataset::read(environment, dataset.parse().expect("a dataset id")).await
}

/// Every image must be there with its label, and every class in both splits. Images that look
/// the same must be in the same split.
fn assert_as_expected(frozen: &FrozenDataset, collection: &Collection) {
    assert_eq!(frozen.labels(), collection.dataset_labels());
    assert_eq!(frozen.manifest["set_aside"], collection.set_aside.len());
    let splits = &frozen.manifest["splits"];
    for split in ["train", "validation"] {
        for class in ["with_mask", "without_mask"] {
            let images = splits[split]["by_class"][class].as_u64();
            assert!(images > Some(0), "{class} in {split}: {splits}");
        }
    }
    for (one, other) in &collection.near_duplicates {
        assert_eq!(frozen.split(one), frozen.split(other), "{one} and {other}");
    }
    for (image, row) in &frozen.rows {
        let picture = image::load_from_memory(&row.jpeg);
        let picture = picture.unwrap_or_else(|error| panic!("{image}: {error}"));
        assert_eq!(picture.dimensions(), (120, 120), "{image}");
    }
}

/// The run that the job asked for must have made an accurate model with a report.
async fn assert_learnt(environment: &Environment, job: &Value) {
    let [run] = job["runs"].as_array().expect("a list").as_slice() else {
        panic!("there must be one run: {job}");
    };
    assert_eq!(run["state"], "done");
    let accuracy = run["accuracy"].as_f64().expect("the model was evaluated");
    assert!(accuracy > 0.9, "the model learnt nothing: {run}");

    let models = environment.json(&["models"]).await;
    assert_eq!(models.len(), 1);
    assert_eq!(models[0]["id"], run["id"]);
    assert_eq!(models[0]["dataset"], job["dataset"]);
    assert_eq!(models[0]["classes"], json!(["with_mask", "without_mask"]));

    let id = run["id"].as_str().expect("a run has an id");
    let report = environment.maskline(&["report", id, "--json"]).await;
    let report: Value = serde_json::from_str(&report).expect("the report is JSON");
    assert!(report.is_object(), "{report}");
    let page = environment.folder().join("report.html");
    let out = page.to_str().expect("a plain path");
    environment.maskline(&["report", id, "--out", out]).await;
    let page = std::fs::read_to_string(page).expect("the page was written");
    assert!(page.starts_with("<!DOCTYPE html>"), "{page:.100}");
    assert!(page.contains(id), "the page is about another run");
}
