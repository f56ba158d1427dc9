//! A dataset that the services froze, read by Python's libraries.

use std::collections::{BTreeMap, BTreeSet};

use maskline_test_support::{environment::Environment, python::read_dataset};
use maskline_tests::{
    collection::Collection,
    dataset::FrozenDataset,
    process::Pipeline,
    site::{Behaviour, LIST, Site},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datasets_pandas_and_duckdb_read_a_frozen_dataset() {
    let environment = Environment::embedded();
    let collection = Collection::faces(40_000, 12)
        .with_look_alikes(41_000)
        .with_rejects(42_000)
        .with_dead_links();
    let site = Site::serve(&collection, Behaviour::default()).await;
    let pipeline = Pipeline::start(&environment, &Pipeline::STAGES).await;
    let list = site.list();
    let address = list.strip_suffix(LIST).expect("the list is on the site");
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let job = environment.json(&args).await;
    assert_eq!(job[0]["state"], "frozen", "{job:#?}");
    pipeline.stop().await;

    let id = job[0]["dataset"].as_str().expect("the job has a dataset");
    let frozen = FrozenDataset::read(&environment, id.parse().expect("a dataset id")).await;
    let objects = environment.objects_address();
    let objects = objects.strip_prefix("file:").expect("a folder of objects");
    let folder = format!("{objects}/datasets/{id}");
    let view = read_dataset(folder.as_ref());

    assert_eq!(view.features["image"], "Image(mode=None, decode=True)");
    let label = "ClassLabel(names=['with_mask', 'without_mask'])";
    assert_eq!(view.features["label"], label);

    let expected: BTreeMap<String, (&str, &str)> = frozen
        .rows
        .iter()
        .map(|(image, row)| (image.to_string(), (row.split.as_str(), row.label.as_str())))
        .collect();
    for (library, splits) in &view.rows {
        let rows = splits.iter().flat_map(|(split, rows)| {
            rows.iter()
                .map(|(image, label, ..)| (image.clone(), (split.as_str(), label.as_str())))
        });
        let rows: BTreeMap<_, _> = rows.collect();
        assert_eq!(rows, expected, "{library}");
        for (image, _, url, _) in splits.values().flatten() {
            let url = url.as_deref().expect("every image has a URL");
            assert!(url.starts_with(address), "{library} has {url} for {image}");
        }
    }
    let libraries: Vec<_> = view.rows.keys().map(String::as_str).collect();
    assert_eq!(libraries, ["datasets", "duckdb", "pandas"]);

    let images: BTreeSet<&String> = expected.keys().collect();
    assert_eq!(view.attributed.iter().collect::<BTreeSet<_>>(), images);
    assert_eq!(view.attributed.len(), images.len());
    assert_eq!(view.pictures.keys().collect::<BTreeSet<_>>(), images);
    for (image, (width, height, mode)) in &view.pictures {
        assert_eq!(
            (*width, *height, mode.as_str()),
            (120, 120, "RGB"),
            "{image}"
        );
    }

    // Nobody looked for faces only if a flag says so, and some masks hide a face.
    for (library, faces) in &view.faces {
        assert_eq!(faces.len(), images.len(), "{library}");
        let found = faces.values().filter(|faces| {
            let faces = faces.as_ref().expect("the validator looked for faces");
            faces.iter().any(|(bbox, _, score)| {
                *score >= 0.5 && bbox[2] > 20.0 && bbox[0] + bbox[2] < 140.0
            })
        });
        let found = found.count();
        assert!(10 * found >= 8 * images.len(), "{library}: {found} faces");
    }

    let card = std::fs::read_to_string(format!("{folder}/README.md"));
    let card = card.expect("the dataset has a card");
    let counts = collection.counts();
    let rejected = format!("{} candidates were rejected.", counts["rejected"]);
    assert!(card.contains(&rejected), "{card}");
    for (code, count) in counts["rejected_by_reason"].as_object().expect("counts") {
        let code = code.replace('_', "\\_");
        let line = card
            .lines()
            .find(|line| line.starts_with(&format!("| {code} |")));
        let line = line.unwrap_or_else(|| panic!("no line about {code}: {card}"));
        assert!(line.ends_with(&format!("| {count} |")), "{line}");
    }
}
