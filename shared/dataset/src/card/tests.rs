use maskline_messages::{DatasetId, Label, SplitSettings};

use super::*;
use crate::manifest::{LAYOUT_VERSION, Shard, SplitManifest};

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn split_of(split: Split, images: [u64; 2], several: u64) -> (Split, SplitManifest) {
    let classes = [label("no"), label("with_mask")];
    let shard = Shard {
        file: split.shard_file(0, 1),
        rows: images.iter().sum(),
        bytes: 1_000,
        sha256: "00ff".to_owned(),
    };
    let manifest = SplitManifest {
        images: shard.rows,
        by_class: classes.into_iter().zip(images).collect(),
        faces: Some(FaceCounts {
            one: shard.rows - several,
            several,
            ..FaceCounts::default()
        }),
        shards: vec![shard],
    };
    (split, manifest)
}

fn manifest() -> Manifest {
    Manifest {
        version: LAYOUT_VERSION,
        dataset: DatasetId::of(b"a dataset"),
        classes: vec![label("no"), label("with_mask")],
        splits: [
            split_of(Split::Train, [700, 500], 76),
            split_of(Split::Validation, [70, 50], 0),
            (Split::Test, SplitManifest::default()),
        ]
        .into(),
        split_settings: SplitSettings::default(),
        near_duplicate_groups: 1,
        set_aside: 2,
    }
}

/// What a card is about.
struct Facts {
    manifest: Manifest,
    sources: Tally,
    licenses: Tally,
    rejected: BTreeMap<String, u64>,
}

impl Facts {
    fn new() -> Self {
        let mut sources = Tally::default();
        sources.add_images(Some("https://example.org/faces|1.csv"), 1_320);
        let mut licenses = Tally::default();
        licenses.add_images(Some("by 4.0"), 1_300);
        licenses.add_images(None, 20);
        Self {
            manifest: manifest(),
            sources,
            licenses,
            rejected: [("blurred".to_owned(), 3), ("later_reason".to_owned(), 1)].into(),
        }
    }

    fn card(&self) -> String {
        card(&CardFacts {
            name: "masks: 1",
            manifest: &self.manifest,
            sources: &self.sources,
            licenses: &self.licenses,
            rejected: &self.rejected,
        })
    }
}

/// The part of the card below a heading.
fn section<'a>(card: &'a str, title: &str) -> &'a str {
    let heading = format!("\n## {title}\n\n");
    let (_, rest) = card.split_once(&heading).expect("the card has the heading");
    rest.split("\n\n## ").next().unwrap_or(rest).trim_end()
}

#[test]
fn the_front_matter_is_what_the_hub_and_datasets_read() {
    let expected = "\
---
pretty_name: \"masks: 1\"
license:
- cc-by-4.0
- unknown
task_categories:
- image-classification
size_categories:
- 1K<n<10K
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
  - split: validation
    path: data/validation-*.parquet
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          \"0\": \"no\"
          \"1\": with_mask
";
    let card = Facts::new().card();
    assert!(card.starts_with(expected), "{card}");
    let faces = "\
  - name: faces
    list:
    - name: bbox
      sequence: float32
    - name: keypoints
      sequence:
        sequence: float32
    - name: score
      dtype: float32
";
    assert!(card.contains(faces), "{card}");
    let splits = "\
  - name: fetched
    dtype: timestamp[ms, tz=UTC]
  - name: etag
    dtype: string
  - name: jobs
    sequence: string
  splits:
  - name: train
    num_bytes: 1000
    num_examples: 1200
  - name: validation
    num_bytes: 1000
    num_examples: 120
  download_size: 2000
  dataset_size: 2000
---

# masks: 1
";
    assert!(card.contains(splits), "{card}");
}

#[test]
fn the_sections_count_images_sources_licences_and_rejections() {
    let card = Facts::new().card();
    let faces = "\
| faces | train | validation |
| --- | --: | --: |
| one face | 1124 | 120 |
| several faces | 76 | 0 |";
    assert!(section(&card, "Faces").ends_with(faces), "{card}");
    let images = "\
| label | train | validation |
| --- | --: | --: |
| no | 700 | 70 |
| with\\_mask | 500 | 50 |
| all | 1200 | 120 |";
    assert_eq!(section(&card, "Images"), images);
    let sources = "\
| source | images |
| --- | --: |
| https://example.org/faces\\|1.csv | 1320 |";
    assert_eq!(section(&card, "Sources"), sources);
    let licenses = "| by 4.0 | 1300 |\n| not known | 20 |";
    assert!(section(&card, "Licences").ends_with(licenses), "{card}");
    let rejected = "\
4 candidates were rejected.

| reason | meaning | rejected |
| --- | --- | --: |
| blurred | the picture is blurred | 3 |
| later\\_reason |  | 1 |";
    assert_eq!(section(&card, "What was rejected"), rejected);
    let groups = section(&card, "Near-duplicates");
    assert!(groups.contains("1 group of more"), "{groups}");
    assert!(groups.contains("2 images are in no split"), "{groups}");
    assert!(groups.contains("differ in at most 8 bits"), "{groups}");
    let split = section(&card, "How it was split");
    assert!(
        split.contains("About 20 %") && split.contains("seed 42"),
        "{split}"
    );
    assert!(!split.contains("test"), "{split}");
}

#[test]
fn a_test_split_is_named_wherever_the_others_are() {
    let mut facts = Facts::new();
    let test = [split_of(Split::Test, [1, 0], 0)];
    facts.manifest.splits.extend(test);
    let card = facts.card();
    assert!(card.contains("  - split: test\n    path: data/test-*.parquet\n"));
    assert!(card.contains("  - name: test\n    num_bytes: 1000\n    num_examples: 1\n"));
    assert!(section(&card, "Images").contains("| all | 1200 | 120 | 1 |"));
    assert!(section(&card, "How it was split").contains("test split"));
}

#[test]
fn a_dataset_without_images_has_a_card_without_files() {
    let mut facts = Facts::new();
    facts.manifest.splits.clear();
    facts.sources = Tally::default();
    facts.licenses = Tally::default();
    facts.rejected.clear();
    let card = facts.card();
    assert!(!card.contains("configs"), "{card}");
    assert_eq!(section(&card, "Images"), "The dataset has no images.");
    assert_eq!(section(&card, "What was rejected"), "Nothing was rejected.");
}

#[test]
fn only_the_most_frequent_sources_are_listed() {
    let mut facts = Facts::new();
    facts.sources = Tally::default();
    for number in 0..150 {
        let name = format!("source {number}");
        facts.sources.add_images(Some(&name), 1_000 - number);
    }
    let card = facts.card();
    let listed = section(&card, "Sources");
    assert!(listed.contains("| source 99 | 901 |"), "{listed}");
    assert!(!listed.contains("source 100"), "{listed}");
    let rest: u64 = (100..150).map(|number| 1_000 - number).sum();
    let rest = format!("| further sources | {rest} |");
    assert!(listed.ends_with(&rest), "{listed}");
}
