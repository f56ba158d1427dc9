//! The files of a dataset, and what becomes of them when the same images are frozen again.

use std::collections::BTreeMap;

use bytes::Bytes;
use maskline_dataset::{Manifest, Split};
use maskline_messages::{DatasetId, JobId, Location, NetworkName, ObjectKey};
use maskline_storage::records::Job;
use maskline_test_support::records;
use sha2::{Digest, Sha256};

use crate::environment::Environment;

/// A frozen job of twenty images at addresses below `site`, and its dataset.
async fn frozen(environment: &Environment, site: &str) -> (JobId, DatasetId) {
    let job = Job {
        train: vec![NetworkName::MobilenetV3Small.into()],
        ..records::job()
    };
    let at_site = |number: u64| {
        let url = format!("https://{site}/{number}.jpg").parse();
        Location::Url(url.unwrap())
    };
    let (job, candidates) = environment.enqueue_at(&job, 0..20, at_site).await;
    for (number, candidate) in candidates.iter().enumerate() {
        environment.store(job, *candidate, number as u64).await;
    }
    environment.expanded(job).await;
    assert!(environment.freeze().await);
    let (ready, _) = environment.announced().await;
    (job, ready.dataset)
}

/// Every file of the dataset with its bytes.
async fn files(environment: &Environment, dataset: DatasetId) -> BTreeMap<String, Bytes> {
    let objects = &environment.stores.objects;
    let keys = objects
        .list(&format!("datasets/{dataset}"), None, 100)
        .await;
    let mut files = BTreeMap::new();
    for key in keys.unwrap() {
        let name = key.as_str().split_once(&dataset.to_string()).unwrap().1;
        files.insert(name.to_owned(), objects.get(&key).await.unwrap());
    }
    files
}

#[tokio::test]
async fn a_dataset_has_shards_a_card_a_list_of_attributions_and_a_manifest() {
    let environment = Environment::new().await;
    let (_, dataset) = frozen(&environment, "one").await;
    let files = files(&environment, dataset).await;
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = [
        "/README.md",
        "/attribution.csv",
        "/data/train-00000-of-00001.parquet",
        "/data/validation-00000-of-00001.parquet",
        "/manifest.json",
        "/members.parquet",
    ];
    assert_eq!(names, expected);
    let card = std::str::from_utf8(&files["/README.md"]).unwrap();
    assert!(card.contains("| all | 16 | 4 |"), "{card}");
    assert!(card.contains("\n# default@1\n"), "{card}");
    let list = std::str::from_utf8(&files["/attribution.csv"]).unwrap();
    assert_eq!(list.lines().count(), 21, "{list}");
    for number in 0..20 {
        assert!(
            list.contains(&format!(",https://one/{number}.jpg,")),
            "{list}"
        );
    }
}

#[tokio::test]
async fn the_same_images_from_elsewhere_leave_a_whole_dataset_as_it_is() {
    let environment = Environment::new().await;
    let (first, dataset) = frozen(&environment, "one").await;
    let before = files(&environment, dataset).await;
    let (second, again) = frozen(&environment, "other").await;
    assert_eq!(again, dataset);
    assert_ne!(first, second);
    assert_eq!(files(&environment, dataset).await, before);
}

#[tokio::test]
async fn a_dataset_that_is_damaged_is_written_anew() {
    let environment = Environment::new().await;
    let (_, dataset) = frozen(&environment, "one").await;
    let objects = &environment.stores.objects;
    let shard = "data/train-00000-of-00001.parquet";
    let shard = ObjectKey::dataset_file(&dataset, shard).unwrap();
    let whole = objects.get(&shard).await.unwrap();
    let mut damaged = whole.to_vec();
    damaged[100] ^= 1;

    objects.put(&shard, damaged.into()).await.unwrap();
    frozen(&environment, "one").await;
    // It says which jobs have the images, and so its bytes are others.
    let written = objects.get(&shard).await.unwrap();
    assert_ne!(written, whole);
    let manifest = objects.get(&ObjectKey::manifest(&dataset)).await.unwrap();
    let manifest = Manifest::from_json(&manifest).unwrap();
    let of_split = &manifest.splits[&Split::Train].shards[0];
    assert_eq!(of_split.sha256, hex::encode(Sha256::digest(&written)));
    for key in [
        shard,
        ObjectKey::manifest(&dataset),
        ObjectKey::dataset_card(&dataset),
        ObjectKey::dataset_attribution(&dataset),
    ] {
        objects.delete(&key).await.unwrap();
        frozen(&environment, "other").await;
        assert!(objects.size(&key).await.unwrap().is_some(), "{key}");
    }
    let manifest = objects.get(&ObjectKey::manifest(&dataset)).await.unwrap();
    let manifest = Manifest::from_json(&manifest).unwrap();
    assert_eq!(
        manifest
            .splits
            .values()
            .map(|split| split.images)
            .sum::<u64>(),
        20
    );
}
