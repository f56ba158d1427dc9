//! A collection that grows by sources of several kinds.

use std::collections::BTreeMap;

use maskline_test_support::environment::Environment;
use maskline_tests::{
    collection::{Collection, counts_of},
    process::Pipeline,
    site::{Behaviour, Site},
};
use serde_json::{Value, json};

/// A first version of two sources, of which neither could train anything by itself, and a second
/// one that takes what is new.
pub async fn a_collection_grows_and_its_versions_can_be_compared(environment: &mut Environment) {
    let services = [&Pipeline::STAGES[..], &["trainer"]].concat();
    let pipeline = Pipeline::start(environment, &services).await;
    let faces = Collection::faces(1, 30);
    let (with_mask, without_mask) = by_class(&faces);
    let site = Site::serve(&with_mask, Behaviour::default()).await;
    let folder = environment.folder().join("unmasked");
    without_mask.write(&folder);
    let folder = folder.to_str().expect("a plain path");

    let list = site.list();
    let masked = ["urls", &list, "--label", "with_mask"];
    let unmasked = ["folder", folder, "--label", "without_mask"];
    let first = enqueue(
        environment,
        &[&masked[..], &["--no-freeze", "--wait"]].concat(),
    )
    .await;
    assert_eq!(first["state"], "complete", "{first:#}");
    let second = enqueue(environment, &[&unmasked[..], &["--wait"]].concat()).await;
    assert_eq!(second["version"], "masks@1", "{second:#}");
    let collection = collection(environment).await;
    assert_eq!(
        (
            &collection["sources"],
            &collection["images"],
            &collection["versions"]
        ),
        (&json!(2), &json!(60), &json!(1)),
        "{collection:#}"
    );
    let per_class = json!({ "with_mask": 30, "without_mask": 30 });
    assert_eq!(collection["latest"]["images"], per_class);
    assert_eq!(site.pictures_sent(), 30);

    // The same list once more: nothing is sent again, and there is nothing new to freeze.
    let again = enqueue(environment, &[&masked[..], &["--wait"]].concat()).await;
    assert_eq!(
        again["rejected_by_reason"],
        json!({ "unchanged": 30 }),
        "{again:#}"
    );
    assert_eq!(
        (&again["version"], site.pictures_sent()),
        (&json!("masks@1"), 30)
    );

    // More faces, and some that are only to test with.
    let more = Collection::faces(1_000, 10);
    let more_site = Site::serve(&more, Behaviour::default()).await;
    let more_list = more_site.list();
    let third = ["urls", &more_list, "--label-from", "column", "--wait"];
    let third = enqueue(environment, &third).await;
    assert_eq!(third["version"], "masks@2");
    assert_eq!(counts_of(&third), more.counts());
    let elsewhere = Collection::faces(2_000, 5);
    let elsewhere_site = Site::serve(&elsewhere, Behaviour::default()).await;
    let elsewhere_list = elsewhere_site.list();
    let fourth = [
        "urls",
        &elsewhere_list,
        "--label-from",
        "column",
        "--role",
        "test",
        "--wait",
    ];
    let fourth = enqueue(environment, &fourth).await;
    assert_eq!(fourth["version"], "masks@3");

    let grown = differences(environment, "masks@1", "masks@2").await;
    assert_eq!(
        grown,
        BTreeMap::from([
            ("added train".to_owned(), 16),
            ("added validation".to_owned(), 4)
        ])
    );
    let tested = differences(environment, "masks@2", "masks").await;
    assert_eq!(tested, BTreeMap::from([("added test".to_owned(), 10)]));
    assert!(
        differences(environment, "masks@3", "masks")
            .await
            .is_empty()
    );
    a_version_of_one_class_says_so_and_its_run_fails_aloud(environment, folder).await;
    pipeline.stop().await;
}

async fn a_version_of_one_class_says_so_and_its_run_fails_aloud(
    environment: &Environment,
    folder: &str,
) {
    let one_class = ["folder", folder, "--label", "without_mask"];
    let into = ["--collection", "half", "--no-freeze", "--wait"];
    let enqueue = [&["enqueue"], &one_class[..], &into].concat();
    environment.maskline(&enqueue).await;
    let freeze = ["freeze", "half", "--wait"];
    let frozen = environment.maskline(&freeze).await;
    assert!(
        frozen.contains("All training images of half@1 are of the class without_mask"),
        "{frozen}"
    );
    let train = [&freeze[..], &["--train", "mobilenet_v3_small"]].concat();
    let trained = environment.run(&train, &[]).await;
    assert!(!trained.success, "{}", trained.stdout);
    for words in ["Nothing has changed since half@1", "failed"] {
        assert!(trained.stdout.contains(words), "{}", trained.stdout);
    }
    let models = environment.maskline(&["models"]).await;
    assert!(models.contains("failed: the dataset has"), "{models}");
    let again = ["train", "half", "--network", "mobilenet_v3_small"];
    let again = [&again[..], &["--wait", "--json"]].concat();
    let again = environment.run(&again, &[]).await;
    assert!(!again.success, "{}", again.stdout);
    let run: Value = serde_json::from_str(again.stdout.trim()).expect("it prints JSON");
    assert_eq!(run["state"], "failed", "{run:#}");
    let report = ["report", run["id"].as_str().expect("an id")];
    let report = environment.run(&report, &[]).await;
    assert!(!report.success, "{}", report.stdout);
    assert!(
        report.stderr.contains("on half@1 failed: the dataset"),
        "{}",
        report.stderr
    );
}

/// The faces of each class.
fn by_class(faces: &Collection) -> (Collection, Collection) {
    let of_class = |class: &str| Collection {
        entries: faces
            .entries
            .iter()
            .filter(|entry| entry.label == class)
            .cloned()
            .collect(),
        ..Collection::default()
    };
    (of_class("with_mask"), of_class("without_mask"))
}

async fn enqueue(environment: &Environment, args: &[&str]) -> Value {
    let args = [&["enqueue"], args, &["--collection", "masks"]].concat();
    environment.json(&args).await.remove(0)
}

async fn collection(environment: &Environment) -> Value {
    let mut collections = environment.json(&["collections"]).await;
    assert_eq!(collections.len(), 1);
    collections.remove(0)
}

/// How often each kind of difference occurs between two datasets.
async fn differences(
    environment: &Environment,
    before: &str,
    after: &str,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for difference in environment.json(&["datasets", "diff", before, after]).await {
        let text = |name: &str| difference[name].as_str().unwrap_or_default().to_owned();
        let kind = format!("{} {}", text("change"), text("split"));
        *counts.entry(kind).or_default() += 1;
    }
    counts
}
