//! What our users' predecessors did by hand: search the web for faces with masks, search again for
//! faces without, add pages and open data, and train on all of it. Here each of these is one
//! command.

use std::collections::{BTreeMap, BTreeSet};

use maskline_messages::{DatasetId, ImageId};
use maskline_test_support::environment::Environment;
use maskline_tests::{
    collection::{Collection, EndState, Entry},
    dataset::FrozenDataset,
    process::{Pipeline, SERVICES},
    site::{Behaviour, Site},
};
use serde_json::{Value, json};

/// Two searches, a page, a folder and a CSV list go into one collection, and a list to test with.
/// Some images are in several of them.
pub async fn searches_a_page_a_folder_and_a_list_become_one_version_and_a_model(
    environment: &mut Environment,
) {
    let searched = Collection::faces(1, 30);
    let mut on_page = Collection::faces(1_000, 10);
    on_page.entries.retain(|entry| entry.label == "with_mask");
    let mut in_folder = Collection::faces(3_000, 5);
    let mut listed = Collection::faces(4_000, 5);
    // The page has a picture that the search finds, and the list one of the folder.
    on_page.entries.push(copy_of(&searched.entries[0]));
    listed.entries.push(copy_of(&in_folder.entries[1]));
    in_folder.entries.push(copy_of(&searched.entries[1]));
    let elsewhere = Collection::faces(2_000, 5);

    let search_site = Site::serve(&searched, Behaviour::default()).await;
    environment.set("MASKLINE_OPENVERSE_URL", &search_site.url());
    let page_site = Site::serve(&on_page, Behaviour::default()).await;
    let list_site = Site::serve(&listed, Behaviour::default()).await;
    let elsewhere_site = Site::serve(&elsewhere, Behaviour::default()).await;
    let folder = environment.folder().join("folder");
    in_folder.write(&folder);
    let folder = folder.to_str().expect("a plain path").to_owned();
    let (page, list) = (page_site.page(), list_site.list());
    let test_list = elsewhere_site.list();

    let openverse = ["--provider", "openverse", "--label"];
    let masked = ["search", "person wearing a face mask"];
    let unmasked = ["search", "portrait of a person"];
    let commands: [Vec<&str>; 6] = [
        [&masked[..], &openverse, &["with_mask"]].concat(),
        [&unmasked[..], &openverse, &["without_mask"]].concat(),
        vec!["page", &page, "--label", "with_mask"],
        vec!["folder", &folder, "--label-from", "folder"],
        vec![
            "urls",
            &test_list,
            "--label-from",
            "column",
            "--role",
            "test",
        ],
        vec![
            "urls",
            &list,
            "--label-from",
            "column",
            "--train",
            "mobilenet_v3_small",
            "--epochs",
            "1",
            "--pixels",
            "32",
        ],
    ];
    let mut jobs = vec![];
    for command in &commands {
        let into = [&command[..], &["--collection", "masks"]].concat();
        jobs.push(environment.enqueue(&into).await);
    }
    let pipeline = Pipeline::start(environment, &SERVICES).await;
    let mut ended = vec![];
    for job in jobs {
        ended.push(environment.ended(job).await);
    }
    let trained = ended.last().expect("there are six");

    // One version, with both classes and every image once.
    assert!(
        ended.iter().all(|job| job["version"] == "masks@1"),
        "{ended:#?}"
    );
    let of = [&searched, &on_page, &in_folder, &listed, &elsewhere];
    let images: BTreeSet<ImageId> = of
        .iter()
        .flat_map(|part| part.dataset_labels())
        .map(|(image, _)| image)
        .collect();
    let dataset: DatasetId = text(&trained["dataset"]).parse().expect("an id");
    let frozen = FrozenDataset::read(environment, dataset).await;
    assert_eq!(frozen.rows.keys().copied().collect::<BTreeSet<_>>(), images);
    let tested = elsewhere.dataset_labels();
    for (image, row) in &frozen.rows {
        assert_eq!(row.split == "test", tested.contains_key(image), "{image}");
    }
    let collections = environment.json(&["collections"]).await;
    let masks = &collections[0];
    let (sources, all) = (json!(6), json!(images.len()));
    assert_eq!((&masks["sources"], &masks["images"]), (&sources, &all));
    let by_class = masks["latest"]["images"].as_object().expect("counts");
    assert_eq!(by_class.len(), 2, "{masks:#}");
    assert_eq!(masks["latest"]["model"], trained["runs"][0]["id"]);

    // A model, and how good it is for each source.
    let run = &trained["runs"][0];
    assert_eq!(run["state"], "done", "{run:#}");
    let evaluation = &run["evaluation"];
    assert_eq!(evaluation["test"]["images"], 10);
    let test_sources = by_source(&evaluation["test"]);
    let name = |number: usize| text(&ended[number]["source"]);
    assert_eq!(test_sources, BTreeMap::from([(name(4), 10)]));
    let validated = by_source(&evaluation["validation"]);
    let names: BTreeSet<&str> = [0, 1, 2, 3, 5].map(name).into();
    assert!(validated.keys().all(|source| names.contains(source)));
    let of_sources: u64 = validated.values().sum();
    let validation = evaluation["validation"]["images"].as_u64();
    assert!(Some(of_sources) >= validation, "{evaluation:#}");

    // The same where a person looks, the test split first.
    let job = text(&trained["id"]);
    let id = text(&run["id"]);
    for command in [
        vec!["status", job],
        vec!["report", id],
        vec!["evaluate", id, "masks@1"],
    ] {
        let printed = environment.maskline(&command).await;
        let places = ["all test images", name(4), "all validation images", name(0)];
        let places = places.map(|text| printed.find(text));
        assert!(places[0].is_some() && places.is_sorted(), "{printed}");
    }
    pipeline.stop().await;
}

/// The same file under another name.
fn copy_of(entry: &Entry) -> Entry {
    Entry {
        path: format!("{}/copy.jpg", entry.label),
        end_state: EndState::Rejected("exact_duplicate"),
        ..entry.clone()
    }
}

/// How many images of a split each source has.
fn by_source(score: &Value) -> BTreeMap<&str, u64> {
    let sources = score["sources"].as_array().expect("a list").iter();
    let counts = sources.map(|source| {
        let images = source["images"].as_u64().expect("a count");
        (text(&source["source"]), images)
    });
    counts.collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
