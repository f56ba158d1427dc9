//! Sources and images that leave a collection.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use futures::TryStreamExt;
use maskline_messages::{DatasetId, ImageId};
use maskline_test_support::environment::Environment;
use maskline_tests::{
    collection::{Collection, Entry},
    dataset::FrozenDataset,
    process::Pipeline,
    site::{Behaviour, Site},
};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

/// Three versions, each with more sources than the one before, and the last without the first
/// source.
pub async fn a_source_leaves_the_collection_and_the_versions_say_so(environment: &mut Environment) {
    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;
    let a = Collection::faces(1, 20);
    let b = Collection::faces(1_000, 10);
    // It contradicts the first source about four images.
    let disputed: Vec<Entry> = a.entries[..4].iter().map(with_other_label).collect();
    let d = joined(&disputed, &Collection::faces(2_000, 4).entries);
    // Two images are of a source that trains, too.
    let t = joined(&b.entries[..2], &Collection::faces(3_000, 3).entries);

    let (_site_a, first) = enqueue(environment, &a, &[]).await;
    assert_eq!(first["version"], "masks@1");
    let (_site_b, _) = enqueue(environment, &b, &["--no-freeze"]).await;
    let (site_d, second) = enqueue(environment, &d, &[]).await;
    assert_eq!(second["version"], "masks@2");

    let job = first["id"].as_str().expect("an id");
    let removed = remove(environment, &["--source", job]).await;
    let expected = json!({
        "collection": "masks", "jobs": [job], "images": 36, "on_their_way": 0, "kept_objects": 0,
        "versions": ["masks@1", "masks@2"], "versions_deleted": false,
    });
    assert_eq!(removed, expected);
    assert_eq!(remove(environment, &["--source", job]).await, expected);
    assert_eq!(
        environment.json(&["status", job]).await[0]["state"],
        "removed"
    );
    let (_site_t, third) = enqueue(environment, &t, &["--role", "test"]).await;
    assert_eq!(third["version"], "masks@3");

    // What the removed source had first, and another has too, is still in the collection.
    let collections = environment.json(&["collections"]).await;
    let left = b.entries.len() + d.entries.len() + t.entries.len() - 2;
    assert_eq!(collections[0]["images"], left, "{collections:?}");

    let mut versions = vec![];
    for job in [&first, &second, &third] {
        let dataset: DatasetId = job["dataset"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("an id");
        versions.push(FrozenDataset::read(environment, dataset).await);
    }
    let [v1, v2, v3] = &versions[..] else {
        unreachable!("there are three");
    };
    let labels = |collections: &[&Collection]| {
        let entries = collections
            .iter()
            .flat_map(|collection| &collection.entries);
        let labels = entries.map(|entry| (image(entry), entry.label));
        labels.collect::<BTreeMap<_, _>>()
    };
    assert_eq!(v1.labels(), labels(&[&a]));
    let is_disputed = |image: &ImageId| disputed.iter().any(|entry| self::image(entry) == *image);
    let mut expected = labels(&[&a, &b, &d]);
    expected.retain(|image, _| !is_disputed(image));
    assert_eq!(v2.labels(), expected);
    assert_eq!(v3.labels(), labels(&[&b, &d, &t]));
    for entry in &t.entries {
        assert_eq!(v3.split(&image(entry)), "test");
    }
    // What the first source said of them is gone.
    for entry in &d.entries[..disputed.len()] {
        let url = v3.rows[&image(entry)].url.as_deref();
        assert_eq!(url, Some(site_d.file(&entry.path).as_str()));
    }

    for (earlier, later) in [(0, 1), (0, 2), (1, 2)] {
        let names = [earlier, later].map(|version| format!("masks@{}", version + 1));
        let printed = environment
            .json(&["datasets", "diff", &names[0], &names[1]])
            .await;
        let printed: BTreeSet<String> = printed.iter().map(difference).collect();
        let (before, after) = (&versions[earlier], &versions[later]);
        assert_eq!(printed, differences(before, after), "{names:?}");
        for (image, row) in &before.rows {
            let now = after.rows.get(image).map(|row| row.split.as_str());
            if row.split == "train" {
                assert_ne!(now, Some("validation"), "{image}");
            }
        }
    }
    let kinds: BTreeSet<String> = differences(v1, v3)
        .union(&differences(v2, v3))
        .filter_map(|text| Some(text.split(' ').nth(1)?.to_owned()))
        .collect();
    let all = ["added", "moved", "relabelled", "removed"].map(str::to_owned);
    assert_eq!(kinds, BTreeSet::from(all));
    pipeline.stop().await;
}

/// A person asks for an image to be removed. It is nowhere after that, and does not come back.
pub async fn a_purged_image_leaves_no_byte_and_does_not_come_back(environment: &mut Environment) {
    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;
    let faces = Collection::faces(1, 10);
    let (site, first) = enqueue(environment, &faces, &[]).await;
    let entry = &faces.entries[3];
    let url = site.file(&entry.path);
    let catalog = environment.catalog().await;
    let name = "masks".parse().expect("a name");
    let stored = async |entry: &Entry| {
        let document = catalog.image(&name, &image(entry)).await;
        let pixels = document.expect("it answers").expect("it is stored").binary;
        let file = entry.file.as_ref().expect("a face");
        [needles(file), needles(&pixels)].concat()
    };
    let needles = stored(entry).await;
    let other = &faces.entries[6];
    let needles_of_other = stored(other).await;
    assert!(!found(environment, &needles).await.is_empty());

    for (target, problem) in [
        (
            ["--url", "https://example.org/unknown.jpg"],
            "no source of masks",
        ),
        (
            ["--image", &ImageId::of(b"unknown").to_string()],
            "no source of masks",
        ),
        (
            ["--source", first["id"].as_str().expect("an id")],
            "no image would be left",
        ),
        (["--source", "abc"], "there is no job abc"),
    ] {
        let args = [&["remove", "masks"], &target[..]].concat();
        let output = environment.run(&args, &[]).await;
        assert!(
            !output.success && output.stderr.contains(problem),
            "{output:#?}"
        );
    }
    let nowhere = environment
        .run(&["remove", "cats", "--url", &url], &[])
        .await;
    assert!(
        nowhere.stderr.contains("there is no collection cats"),
        "{nowhere:#?}"
    );

    let purge = ["--url", &url, "--purge", "--versions"];
    let removed = remove(environment, &purge).await;
    assert_eq!(removed["images"], 1, "{removed:#}");
    assert_eq!(removed["versions"], json!(["masks@1"]));
    assert_eq!(found(environment, &needles).await, Vec::<String>::new());
    assert_eq!(remove(environment, &purge).await["images"], 0, "once more");
    let gone = environment
        .run(&["datasets", "diff", "masks@1", "masks"], &[])
        .await;
    assert!(gone.stderr.contains("masks@1 was deleted"), "{gone:#?}");

    // Another request, for which the command is killed again and again.
    let purge = [
        "--image",
        &image(other).to_string(),
        "--purge",
        "--versions",
    ];
    let args = [&["remove", "masks"], &purge[..]].concat();
    for milliseconds in [10, 20, 40, 80, 160] {
        let limit = Duration::from_millis(milliseconds);
        // An error means that it was killed.
        let _ = tokio::time::timeout(limit, environment.run(&args, &[])).await;
    }
    remove(environment, &purge).await;
    assert_eq!(
        found(environment, &needles_of_other).await,
        Vec::<String>::new()
    );

    // The same list once more, and the same bytes at another address.
    let again = list(environment, &site.list(), &[]).await;
    let reasons = json!({ "removed": 2, "unchanged": 18 });
    assert_eq!(again["rejected_by_reason"], reasons, "{again:#}");
    assert_eq!(again["version"], "masks@2");
    assert_eq!(site.pictures_sent(), 20, "it was not asked for");
    let moved = Entry {
        path: "with_mask/elsewhere.jpg".to_owned(),
        ..entry.clone()
    };
    let (_elsewhere, copied) = enqueue(environment, &joined(&[moved], &[]), &[]).await;
    assert_eq!(copied["rejected_by_reason"], json!({ "removed": 1 }));
    pipeline.stop().await;
    assert_eq!(found(environment, &needles).await, Vec::<String>::new());
    let versions = environment.json(&["collections"]).await;
    assert_eq!(
        versions[0]["latest"]["images"],
        json!({ "with_mask": 9, "without_mask": 9 })
    );
}

fn image(entry: &Entry) -> ImageId {
    ImageId::of(entry.file.as_ref().expect("a face"))
}

fn with_other_label(entry: &Entry) -> Entry {
    let label = match entry.label {
        "with_mask" => "without_mask",
        _ => "with_mask",
    };
    Entry {
        label,
        ..entry.clone()
    }
}

fn joined(one: &[Entry], other: &[Entry]) -> Collection {
    let mut entries = vec![];
    for (number, entry) in one.iter().chain(other).enumerate() {
        // Entries of different collections have the same paths.
        let path = format!("{number}/{}", entry.path);
        entries.push(Entry {
            path,
            ..entry.clone()
        });
    }
    Collection {
        entries,
        ..Collection::default()
    }
}

/// Serves the images, enqueues the list of them and waits for the end.
async fn enqueue(environment: &Environment, faces: &Collection, flags: &[&str]) -> (Site, Value) {
    let site = Site::serve(faces, Behaviour::default()).await;
    let job = list(environment, &site.list(), flags).await;
    (site, job)
}

async fn list(environment: &Environment, list: &str, flags: &[&str]) -> Value {
    let args = ["enqueue", "urls", list, "--label-from", "column", "--wait"];
    let args = [&args[..], &["--collection", "masks"], flags].concat();
    environment.json(&args).await.remove(0)
}

async fn remove(environment: &Environment, flags: &[&str]) -> Value {
    let args = [&["remove", "masks"], flags].concat();
    environment.json(&args).await.remove(0)
}

/// A line that `datasets diff` printed, as [`differences`] writes it.
fn difference(printed: &Value) -> String {
    let text = |name: &str| printed[name].as_str().expect("a text").to_owned();
    let (image, change) = (text("image"), text("change"));
    match change.as_str() {
        "added" | "removed" => format!("{image} {change} {} {}", text("label"), text("split")),
        _ => format!("{image} {change} {} {}", text("from"), text("to")),
    }
}

/// How two datasets differ, by their shards.
fn differences(before: &FrozenDataset, after: &FrozenDataset) -> BTreeSet<String> {
    let mut differences = BTreeSet::new();
    for (image, row) in &before.rows {
        match after.rows.get(image) {
            None => {
                differences.insert(format!("{image} removed {} {}", row.label, row.split));
            }
            Some(now) => {
                if now.label != row.label {
                    let text = format!("{image} relabelled {} {}", row.label, now.label);
                    differences.insert(text);
                }
                if now.split != row.split {
                    differences.insert(format!("{image} moved {} {}", row.split, now.split));
                }
            }
        }
    }
    for (image, row) in &after.rows {
        if !before.rows.contains_key(image) {
            differences.insert(format!("{image} added {} {}", row.label, row.split));
        }
    }
    differences
}

/// Pieces of a file that no other file has.
fn needles(file: &[u8]) -> Vec<Vec<u8>> {
    let pieces = file.chunks(48).filter(|piece| piece.len() == 48);
    // The beginning is the same in every JPEG of ours.
    pieces.skip(20).step_by(5).map(<[u8]>::to_vec).collect()
}

/// Where the pieces are: in files, in objects, in documents.
async fn found(environment: &Environment, needles: &[Vec<u8>]) -> Vec<String> {
    assert!(needles.len() > 4);
    let holds = |bytes: &[u8]| {
        let mut windows = bytes.windows(48);
        let wanted: BTreeSet<&[u8]> = needles.iter().map(Vec::as_slice).collect();
        windows.any(|window| wanted.contains(window))
    };
    let mut places = vec![];
    let mut folders = vec![environment.folder().join("data")];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            match fs::read(&path) {
                _ if path.is_dir() => folders.push(path),
                Ok(bytes) if holds(&bytes) => places.push(path.display().to_string()),
                _ => {}
            }
        }
    }
    let objects = environment.objects().await;
    for key in objects.list("", None, 10_000).await.expect("it answers") {
        // It may be gone by now.
        if objects.get(&key).await.is_ok_and(|bytes| holds(&bytes)) {
            places.push(key.to_string());
        }
    }
    if let Some(database) = environment.database().await {
        let names = database.list_collection_names().await.expect("it answers");
        for name in names {
            let documents = database.collection::<Document>(&name).find(doc! {}).await;
            let documents: Vec<Document> = documents
                .expect("it answers")
                .try_collect()
                .await
                .expect("it answers");
            let bytes = documents.iter().map(|document| {
                let bytes = mongodb::bson::serialize_to_vec(document);
                bytes.expect("it came as bytes")
            });
            places.extend(bytes.filter(|bytes| holds(bytes)).map(|_| name.clone()));
        }
    }
    places
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return vec![];
    };
    entries.flatten().map(|entry| entry.path()).collect()
}
