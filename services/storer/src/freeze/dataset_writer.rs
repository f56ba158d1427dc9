//! Writing a planned dataset into the object store: Parquet shards and a manifest.

use std::collections::BTreeMap;

use anyhow::Result;
use maskline_dataset::{
    Example, GROUP_ROWS, LAYOUT_VERSION, Manifest, SHARD_ROWS, Shard, ShardWriter, Split,
    SplitManifest,
};
use maskline_messages::{ImageId, ObjectKey};
use maskline_storage::{ObjectStore, catalog::Images, records::Job};

use super::measured_upload::MeasuredUpload;
use crate::plan::{Plan, Row};

/// Writes one dataset.
pub(super) struct DatasetWriter<'a> {
    pub(super) objects: &'a dyn ObjectStore,
    pub(super) images: &'a dyn Images,
    pub(super) job: &'a Job,
    pub(super) plan: &'a Plan,
}

impl DatasetWriter<'_> {
    /// Writes the shards first and the manifest last. So where there is a manifest, the
    /// dataset is whole.
    pub(super) async fn write(&self) -> Result<Manifest> {
        let plan = self.plan;
        let mut splits = BTreeMap::new();
        for (split, rows) in &plan.rows {
            let mut by_class = BTreeMap::new();
            for &number in rows {
                let class = &plan.classes[plan.row(number).class];
                *by_class.entry(class.clone()).or_default() += 1;
            }
            let split_manifest = SplitManifest {
                images: rows.len() as u64,
                by_class,
                shards: self.write_split(*split, rows).await?,
            };
            splits.insert(*split, split_manifest);
        }
        let manifest = Manifest {
            version: LAYOUT_VERSION,
            dataset: plan.id,
            classes: plan.classes.clone(),
            splits,
            split_settings: self.job.split.clone(),
            near_duplicate_groups: plan.near_duplicate_groups,
            set_aside: plan.set_aside,
        };
        let key = ObjectKey::manifest(&plan.id);
        self.objects.put(&key, manifest.to_json().into()).await?;
        Ok(manifest)
    }

    async fn write_split(&self, split: Split, rows: &[u32]) -> Result<Vec<Shard>> {
        let plan = self.plan;
        let count = rows.len().div_ceil(SHARD_ROWS);
        let mut shards = vec![];
        for (index, rows) in rows.chunks(SHARD_ROWS).enumerate() {
            let file = split.shard_file(index, count);
            let key = ObjectKey::dataset_file(&plan.id, &file)?;
            let mut writer = ShardWriter::new(&plan.classes)?;
            let upload = self.objects.upload(&key).await?;
            let mut upload = MeasuredUpload::new(upload);
            for group in rows.chunks(GROUP_ROWS) {
                let group = group.iter().map(|&number| plan.row(number)).collect();
                let examples = self.examples(group).await?;
                upload.write(writer.write(&examples)?).await?;
            }
            upload.write(writer.finish()?).await?;
            let measure = upload.finish().await?;
            shards.push(Shard {
                file,
                rows: rows.len() as u64,
                bytes: measure.bytes,
                sha256: measure.sha256,
            });
        }
        Ok(shards)
    }

    /// The rows with their images' bytes.
    async fn examples(&self, rows: Vec<Row>) -> Result<Vec<Example>> {
        let images: Vec<ImageId> = rows.iter().map(|row| row.image).collect();
        let jpegs = self.images.image_bytes(self.job.id, &images).await?;
        let examples = rows.into_iter().zip(jpegs).map(|(row, jpeg)| Example {
            image: row.image,
            class: row.class,
            jpeg,
            width: row.width,
            height: row.height,
        });
        Ok(examples.collect())
    }
}
