//! A frozen dataset, read back as another program would read it, from its manifest and
//! its Parquet shards.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use maskline_messages::{DatasetId, ImageId, ObjectKey};
use maskline_storage::ObjectStore;
use maskline_test_support::environment::Environment;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A dataset's manifest, and its rows by image.
pub struct FrozenDataset {
    pub manifest: Value,
    pub rows: BTreeMap<ImageId, Row>,
}

/// One image of a dataset.
pub struct Row {
    /// `train`, `validation` or `test`.
    pub split: String,
    pub label: String,
    /// The address that it was fetched from.
    pub url: Option<String>,
    /// The file of the normalized image.
    pub jpeg: Bytes,
}

impl FrozenDataset {
    /// Reads every shard. Panics where one differs from the manifest.
    pub async fn read(environment: &Environment, dataset: DatasetId) -> Self {
        let objects = environment.stores().await.objects;
        let manifest = object(&*objects, &dataset, "manifest.json").await;
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        let mut rows = BTreeMap::new();
        for (split, about) in manifest["splits"].as_object().expect("splits by name") {
            for shard in about["shards"].as_array().expect("a list of shards") {
                let file = text(&shard["file"]);
                let parquet = object(&*objects, &dataset, file).await;
                let sha256 = hex::encode(Sha256::digest(&parquet));
                assert_eq!(text(&shard["sha256"]), sha256, "{file}");
                let read = shard_rows(parquet, split, &manifest["classes"]);
                assert_eq!(shard["rows"], read.len(), "{file}");
                for (image, row) in read {
                    assert!(
                        rows.insert(image, row).is_none(),
                        "{image:?} is in the dataset twice"
                    );
                }
            }
        }
        Self { manifest, rows }
    }

    /// The label of every image.
    pub fn labels(&self) -> BTreeMap<ImageId, &str> {
        let labels = self.rows.iter();
        labels
            .map(|(image, row)| (*image, row.label.as_str()))
            .collect()
    }

    /// The name of the split that has the image.
    pub fn split(&self, image: &ImageId) -> &str {
        &self.rows[image].split
    }
}

async fn object(objects: &dyn ObjectStore, dataset: &DatasetId, file: &str) -> Bytes {
    let key = ObjectKey::dataset_file(dataset, file).expect("a plain name");
    objects.get(&key).await.expect("a frozen dataset is whole")
}

fn shard_rows(parquet: Bytes, split: &str, classes: &Value) -> Vec<(ImageId, Row)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(parquet).expect("a Parquet file");
    let reader = reader.build().expect("its schema is plain");
    let batches = reader.map(|batch| batch.expect("its pages are whole"));
    batches
        .flat_map(|batch| batch_rows(&batch, split, classes))
        .collect()
}

fn batch_rows(batch: &RecordBatch, split: &str, classes: &Value) -> Vec<(ImageId, Row)> {
    let column = |name: &str| batch.column_by_name(name).expect("the layout's columns");
    let pictures = column("image").as_struct().column_by_name("bytes");
    let pictures = pictures.expect("an image has bytes").as_binary::<i32>();
    let labels = column("label").as_primitive::<Int64Type>();
    let ids = column("image_id").as_string::<i32>();
    let urls = column("url").as_string::<i32>();
    (0..batch.num_rows())
        .map(|n| {
            let image = ids.value(n).parse().expect("an image id");
            let row = Row {
                split: split.to_owned(),
                label: text(&classes[labels.value(n) as usize]).to_owned(),
                url: urls.is_valid(n).then(|| urls.value(n).to_owned()),
                jpeg: Bytes::copy_from_slice(pictures.value(n)),
            };
            (image, row)
        })
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
