use std::{fs, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field, Fields, Schema},
};
use maskline_messages::Label;
use maskline_test_support::environment::Environment;
use parquet::{
    arrow::ArrowWriter,
    file::{metadata::KeyValue, properties::WriterProperties},
};

use super::*;
use crate::{
    expand::candidate::{STEP_CONTENT, SourceCandidate},
    fetch::FetchLimits,
};

async fn expand(
    dataset: &Path,
    labeling: Option<&Labeling>,
    keep: bool,
) -> Result<(Vec<SourceCandidate>, Vec<usize>), String> {
    let environment = Environment::embedded();
    let fetcher = Fetcher::for_tests(&environment, FetchLimits::for_tests()).await;
    let location = Location::Path(dataset.to_owned());
    let (mut found, mut sizes, mut cursor, mut kept) = (vec![], vec![], None::<String>, None);
    loop {
        let stepped = step(&fetcher, &location, labeling, cursor.as_deref(), kept).await;
        let (step, open) = stepped.map_err(|error| error.to_string())?;
        sizes.push(step.candidates.len());
        found.extend(step.candidates);
        kept = open.filter(|_| keep);
        cursor = step.next_cursor;
        if cursor.is_none() {
            return Ok((found, sizes));
        }
    }
}

/// Images of so many bytes each, as `datasets` writes them: in row groups of 100 rows.
fn shard(images: &[Option<Vec<u8>>], paths: &[&str]) -> Vec<u8> {
    let fields = Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]);
    let schema = Arc::new(Schema::new(vec![
        Field::new("image", DataType::Struct(fields.clone()), true),
        Field::new("label", DataType::Int64, true),
        Field::new("artist", DataType::Utf8, true),
    ]));
    let features = serde_json::json!({ "info": { "features": {
        "image": { "_type": "Image" },
        "label": { "names": ["without_mask", "with_mask"], "_type": "ClassLabel" },
    }}});
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(100))
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "huggingface".to_owned(),
            features.to_string(),
        )]))
        .build();
    let rows = images.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StructArray::new(
            fields,
            vec![
                Arc::new(BinaryArray::from_iter(images.iter().map(Option::as_deref))),
                Arc::new(StringArray::from_iter_values(paths.iter().take(rows))),
            ],
            None,
        )),
        Arc::new(Int64Array::from_iter_values(
            (0..rows).map(|n| n as i64 % 2),
        )),
        Arc::new(StringArray::from_iter_values(
            (0..rows).map(|n| format!("Ana {n}")),
        )),
    ];
    let mut writer = ArrowWriter::try_new(vec![], schema.clone(), Some(properties)).unwrap();
    writer
        .write(&RecordBatch::try_new(schema, columns).unwrap())
        .unwrap();
    writer.into_inner().unwrap()
}

fn label_of(found: &SourceCandidate) -> &str {
    found.label.as_ref().map_or("-", Label::as_str)
}

#[tokio::test]
async fn parquet_shards_give_their_images_with_class_names() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let names: Vec<_> = (0..250).map(|n| format!("{n}.jpg")).collect();
    let paths: Vec<_> = names.iter().map(String::as_str).collect();
    let image = |n: usize| Some(format!("image {n}").into_bytes());
    let images: Vec<_> = (0..250).map(image).collect();
    fs::write(data.join("train-0.parquet"), shard(&images, &paths)).unwrap();
    fs::write(data.join("train-1.parquet"), shard(&images[..3], &paths)).unwrap();
    fs::write(data.join("notes.txt"), "no shard").unwrap();
    for keep in [true, false] {
        let labeling = Labeling::column();
        let (found, sizes) = expand(folder.path(), Some(&labeling), keep).await.unwrap();
        assert_eq!(sizes, [250, 3]);
        for (index, found) in found.iter().enumerate() {
            let row = index % 250;
            assert_eq!(found.content.as_deref(), image(row).as_deref());
            assert_eq!(label_of(found), ["without_mask", "with_mask"][row % 2]);
            assert_eq!(
                found.provenance.creator.as_deref(),
                Some(&*format!("Ana {row}"))
            );
            let location = found.location.to_string();
            assert!(
                location.ends_with(&format!(".parquet#{row}:{row}.jpg")),
                "{location}"
            );
        }
    }
}

#[tokio::test]
async fn large_images_are_read_in_steps_of_bounded_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.parquet");
    let images: Vec<_> = (0..50).map(|n| Some(vec![n as u8; 1 << 20])).collect();
    fs::write(&file, shard(&images, &["a.jpg"; 50])).unwrap();
    for keep in [true, false] {
        let (found, sizes) = expand(&file, None, keep).await.unwrap();
        let most = (STEP_CONTENT >> 20) as usize;
        assert_eq!(sizes, [most, most, most, 50 - 3 * most]);
        for (n, found) in found.iter().enumerate() {
            assert_eq!(found.content.as_ref().unwrap()[0], n as u8);
        }
    }
}

#[tokio::test]
async fn a_row_without_bytes_names_a_file_or_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("1.jpg"), "image").unwrap();
    let images = [None, None, Some(vec![]), Some(vec![0; 3 << 20])];
    let paths = ["1.jpg", "../2.jpg", "3.jpg", "4.jpg"];
    fs::write(folder.path().join("a.parquet"), shard(&images, &paths)).unwrap();
    let (found, _) = expand(folder.path(), None, true).await.unwrap();
    assert_eq!(
        found[0].location,
        Location::Path(folder.path().join("1.jpg"))
    );
    let reasons: Vec<_> = found[1..]
        .iter()
        .map(|found| found.rejected.as_ref().unwrap().code())
        .collect();
    assert_eq!(reasons, ["unreadable", "empty", "too_many_bytes"]);
}

#[tokio::test]
async fn an_image_folder_is_read_by_its_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for split in ["train", "test"] {
        fs::create_dir(root.join(split)).unwrap();
    }
    fs::write(root.join("train/a.jpg"), "image").unwrap();
    fs::write(
        root.join("train/metadata.csv"),
        "file_name,label,text\na.jpg,with_mask,a face\n../../b.jpg,with_mask,\nsub/c.jpg,no mask,\n",
    )
    .unwrap();
    fs::write(
        root.join("test/metadata.jsonl"),
        "{\"file_name\": \"d.jpg\", \"label\": 1, \"license\": \"CC0\"}\n",
    )
    .unwrap();
    let labeling = Labeling::Column {
        name: None,
        map: [("1".to_owned(), "with_mask".parse().unwrap())].into(),
    };
    for keep in [true, false] {
        let (found, sizes) = expand(root, Some(&labeling), keep).await.unwrap();
        assert_eq!(sizes, [1, 3]);
        assert_eq!(found[0].location, Location::Path(root.join("test/d.jpg")));
        assert_eq!(label_of(&found[0]), "with_mask");
        assert_eq!(found[0].provenance.license.as_deref(), Some("cc0"));
        assert_eq!(found[1].location, Location::Path(root.join("train/a.jpg")));
        assert_eq!(found[1].provenance.title.as_deref(), Some("a face"));
        let reason = found[2].rejected.as_ref().unwrap().to_string();
        assert!(
            reason.starts_with("line 3: the name leads out of the folder"),
            "{reason}"
        );
        let reason = found[3].rejected.as_ref().unwrap().to_string();
        assert!(reason.contains("\"no mask\" is not a label"), "{reason}");
    }
}

#[tokio::test]
async fn what_is_no_dataset_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let error = expand(root, None, true).await.unwrap_err();
    assert!(
        error.contains("neither Parquet files nor a metadata.csv"),
        "{error}"
    );
    let error = expand(&root.join("gone"), None, true).await.unwrap_err();
    assert!(error.contains("gone can't be read"), "{error}");
    fs::write(root.join("a.parquet"), "no parquet").unwrap();
    let error = expand(root, None, true).await.unwrap_err();
    assert!(error.contains("does not begin with PAR1"), "{error}");
    assert!(error.contains("maskline enqueue archive"), "{error}");
    fs::write(root.join("a.parquet"), "PAR1 and no more").unwrap();
    let error = expand(root, None, true).await.unwrap_err();
    assert!(
        error.contains("is no Parquet file that can be read"),
        "{error}"
    );
    let urls = Schema::new(vec![Field::new("url", DataType::Utf8, true)]);
    let writer = ArrowWriter::try_new(vec![], Arc::new(urls), None).unwrap();
    fs::write(root.join("a.parquet"), writer.into_inner().unwrap()).unwrap();
    let error = expand(root, None, true).await.unwrap_err();
    assert!(error.contains("(its columns: url)"), "{error}");
    assert!(error.contains("maskline enqueue urls"), "{error}");
}
