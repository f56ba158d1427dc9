//! A dataset with every column and all three splits, read by Python's libraries.

use std::{collections::BTreeMap, fs, io::Cursor, path::Path};

use bytes::Bytes;
use image::{ImageFormat, Rgb, RgbImage};
use maskline_dataset::{
    CardFacts, Example, ExampleProvenance, FaceCounts, GROUP_ROWS, LAYOUT_VERSION, Manifest,
    Original, Shard, ShardWriter, Split, SplitManifest, Tally, attribution_header,
    attribution_rows, card,
};
use maskline_messages::{DatasetId, Face, Format, ImageId, JobId, Label, SplitSettings};
use maskline_test_support::{
    messages::{face, label},
    python::{PythonFace, PythonRow, read_dataset},
};

/// The sizes of the shards of each split. One has several row groups.
const SHARDS: [(Split, &[usize]); 3] = [
    (Split::Train, &[GROUP_ROWS + 1, 3]),
    (Split::Validation, &[4]),
    (Split::Test, &[2]),
];

/// A name that YAML 1.1 reads as `false` unless it is quoted, and one that is not ASCII.
fn classes() -> [Label; 2] {
    ["no", "münze"].map(label)
}

fn picture(number: u32) -> (u32, u32, Bytes) {
    let (width, height) = (8 + number % 3, 6);
    let shade = (number % 256) as u8;
    let picture = RgbImage::from_pixel(width, height, Rgb([shade, 90, 160]));
    let mut jpeg = Cursor::new(vec![]);
    picture.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    (width, height, jpeg.into_inner().into())
}

/// Nobody looked for faces in every fifth image. Of the others some have none and some several.
fn faces(number: u32) -> Option<Vec<Face>> {
    (!number.is_multiple_of(5)).then(|| vec![face(); (number % 3) as usize])
}

/// Every third image has no provenance.
fn example(number: u32) -> Example {
    let (width, height, jpeg) = picture(number);
    let known = ExampleProvenance {
        source: Some("a list".to_owned()),
        url: Some(format!("https://example.org/{number}.jpg")),
        landing_page: Some("https://example.org/page".to_owned()),
        title: Some("Münzen, \"alt\"\nund neu".to_owned()),
        creator: Some("A. Painter".to_owned()),
        license: Some("by-sa 4.0".to_owned()),
        license_url: Some("https://example.org/license".to_owned()),
        attribution: Some("A. Painter, CC BY-SA 4.0".to_owned()),
        fetched: Some(1_800_000_000_123 + i64::from(number)),
        etag: Some("\"tag\"".to_owned()),
        jobs: vec![JobId::draw(); (number % 3) as usize],
    };
    Example {
        image: ImageId::of(&number.to_le_bytes()),
        class: number as usize % 2,
        jpeg,
        width,
        height,
        original: number.is_multiple_of(2).then_some(Original {
            format: Format::Webp,
            width: 640,
            height: 480,
            bytes: (number > 4).then_some(1 << 33),
        }),
        faces: faces(number),
        group: Some(ImageId::of(&(number / 2).to_le_bytes())),
        provenance: if number.is_multiple_of(3) {
            ExampleProvenance::default()
        } else {
            known
        },
    }
}

/// Writes the dataset as the storer does, and returns its rows by split.
fn write(folder: &Path) -> BTreeMap<Split, Vec<Example>> {
    fs::create_dir(folder.join("data")).unwrap();
    let mut numbers = 0..;
    let (mut splits, mut all) = (BTreeMap::new(), BTreeMap::new());
    let (mut sources, mut licenses) = (Tally::default(), Tally::default());
    let mut attribution = attribution_header().to_vec();
    for (split, sizes) in SHARDS {
        let mut shards = vec![];
        let mut rows: Vec<Example> = vec![];
        let mut faces = FaceCounts::default();
        for (index, &size) in sizes.iter().enumerate() {
            let file = split.shard_file(index, sizes.len());
            let examples: Vec<Example> = numbers.by_ref().take(size).map(example).collect();
            let mut writer = ShardWriter::new(&classes()).unwrap();
            let groups = examples.chunks(GROUP_ROWS);
            let groups: Vec<Bytes> = groups.map(|group| writer.write(group).unwrap()).collect();
            let parquet = [groups.concat(), writer.finish().unwrap().to_vec()].concat();
            fs::write(folder.join(&file), &parquet).unwrap();
            attribution.extend(attribution_rows(&examples));
            for example in &examples {
                sources.add(example.provenance.source.as_deref());
                licenses.add(example.provenance.license.as_deref());
                faces.add(example.faces.as_deref());
            }
            shards.push(Shard {
                file,
                rows: size as u64,
                bytes: parquet.len() as u64,
                sha256: String::new(),
            });
            rows.extend(examples);
        }
        let mut by_class: BTreeMap<Label, u64> = BTreeMap::new();
        for row in &rows {
            *by_class.entry(classes()[row.class].clone()).or_default() += 1;
        }
        let manifest = SplitManifest {
            images: rows.len() as u64,
            by_class,
            faces: Some(faces),
            shards,
        };
        splits.insert(split, manifest);
        all.insert(split, rows);
    }
    let manifest = Manifest {
        version: LAYOUT_VERSION,
        dataset: DatasetId::of(b"a dataset"),
        classes: classes().to_vec(),
        splits,
        split_settings: SplitSettings::default(),
        near_duplicate_groups: 0,
        set_aside: 0,
    };
    let card = card(&CardFacts {
        name: "coins: \"old\"\n---\nlicense: mit",
        manifest: &manifest,
        sources: &sources,
        licenses: &licenses,
        rejected: &[("blurred".to_owned(), 3)].into(),
    });
    fs::write(folder.join("README.md"), card).unwrap();
    fs::write(folder.join("attribution.csv"), attribution).unwrap();
    fs::write(folder.join("manifest.json"), manifest.to_json()).unwrap();
    all
}

#[test]
fn datasets_pandas_and_duckdb_read_every_row_of_every_split() {
    let folder = tempfile::tempdir().unwrap();
    let written = write(folder.path());
    let view = read_dataset(folder.path());

    assert_eq!(view.features["image"], "Image(mode=None, decode=True)");
    assert_eq!(view.features["label"], "ClassLabel(names=['no', 'münze'])");
    assert_eq!(view.features["near_group"], "Value('string')");
    assert_eq!(view.features["url"], "Value('string')");
    assert_eq!(view.features["original_height"], "Value('int32')");
    assert_eq!(view.features["original_bytes"], "Value('int64')");
    assert_eq!(view.features["original_format"], "Value('string')");
    assert_eq!(view.features["jobs"], "List(Value('string'))");
    assert_eq!(view.features["fetched"], "Value('timestamp[ms, tz=UTC]')");

    let expected = "List({'bbox': List(Value('float32')), \
                    'keypoints': List(List(Value('float32'))), 'score': Value('float32')})";
    assert_eq!(view.features["faces"], expected);

    let rows = |split: &Vec<Example>| -> Vec<PythonRow> {
        let row = |example: &Example| {
            (
                example.image.to_string(),
                classes()[example.class].to_string(),
                example.provenance.url.clone(),
                example.provenance.fetched,
            )
        };
        split.iter().map(row).collect()
    };
    let expected: BTreeMap<String, Vec<PythonRow>> = written
        .iter()
        .map(|(split, examples)| (split.name().to_owned(), rows(examples)))
        .collect();
    for library in ["datasets", "pandas", "duckdb"] {
        assert_eq!(view.rows[library], expected, "{library}");
    }

    let examples: Vec<&Example> = written.values().flatten().collect();
    let faces = examples.iter().map(|example| {
        let (width, height) = (f64::from(example.width), f64::from(example.height));
        // The boxes of `messages::face`, in pixels.
        let found = example.faces.as_ref().map(|faces| {
            let bbox = vec![0.5 * width, 0.25 * height, 0.375 * width, 0.5 * height];
            let left_ear = vec![0.875 * width, 0.4375 * height];
            vec![(bbox, left_ear, 0.875); faces.len()]
        });
        (example.image.to_string(), found)
    });
    let faces: BTreeMap<String, Option<Vec<PythonFace>>> = faces.collect();
    for library in ["datasets", "pandas", "duckdb"] {
        assert_eq!(view.faces[library], faces, "{library}");
    }
    let pictures = examples.iter().map(|example| {
        let size = (example.width, example.height, "RGB".to_owned());
        (example.image.to_string(), size)
    });
    assert_eq!(view.pictures, pictures.collect());
    let mut attributed = view.attributed;
    let mut images: Vec<_> = examples.iter().map(|one| one.image.to_string()).collect();
    attributed.sort();
    images.sort();
    assert_eq!(attributed, images);
}

#[test]
fn the_hub_reads_the_cards_metadata_whatever_the_name_is() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let card = read_dataset(folder.path()).card;
    assert_eq!(card["pretty_name"], "coins: \"old\"\n---\nlicense: mit");
    assert_eq!(
        card["license"],
        serde_json::json!(["cc-by-sa-4.0", "unknown"])
    );
    assert_eq!(card["size_categories"], serde_json::json!(["n<1K"]));
    assert_eq!(
        card["task_categories"],
        serde_json::json!(["image-classification"])
    );
}
