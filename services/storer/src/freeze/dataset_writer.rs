//! Writing a planned dataset into the object store: Parquet shards, what is said about them,
//! and a manifest.

use std::collections::BTreeMap;

use anyhow::Result;
use maskline_dataset::{
    Example, ExampleProvenance, GROUP_ROWS, LAYOUT_VERSION, Manifest, SHARD_ROWS, Shard,
    ShardWriter, Split, SplitManifest,
};
use maskline_messages::{ImageId, Location, ObjectKey, without_secrets};
use maskline_storage::{
    ObjectStore,
    catalog::{Candidates, Images},
    records::Job,
};

use super::{description::Description, existing::whole_dataset, measured_upload::MeasuredUpload};
use crate::plan::{Plan, Row};

/// Writes one dataset.
pub(super) struct DatasetWriter<'a> {
    pub(super) objects: &'a dyn ObjectStore,
    pub(super) candidates: &'a dyn Candidates,
    pub(super) images: &'a dyn Images,
    pub(super) job: &'a Job,
    pub(super) plan: &'a Plan,
}

impl DatasetWriter<'_> {
    /// Writes the shards and the files about them first, and the manifest last. So where
    /// there is a manifest, the dataset is whole.
    ///
    /// A dataset of the same images that is whole already is left as it is: a trainer may be
    /// reading it, and the provenance of its images may differ, since another job may have
    /// found the same images elsewhere.
    pub(super) async fn write(&self) -> Result<Manifest> {
        let plan = self.plan;
        let mut manifest = Manifest {
            version: LAYOUT_VERSION,
            dataset: plan.id,
            classes: plan.classes.clone(),
            splits: BTreeMap::new(),
            split_settings: self.job.split.clone(),
            near_duplicate_groups: plan.near_duplicate_groups,
            set_aside: plan.set_aside,
        };
        if let Some(existing) = whole_dataset(self.objects, &manifest).await? {
            return Ok(existing);
        }
        let mut description = Description::begin(self.objects, &plan.id).await?;
        for (split, rows) in &plan.rows {
            let mut by_class = BTreeMap::new();
            for &number in rows {
                let class = &plan.classes[plan.row(number).class];
                *by_class.entry(class.clone()).or_default() += 1;
            }
            let split_manifest = SplitManifest {
                images: rows.len() as u64,
                by_class,
                shards: self.write_split(*split, rows, &mut description).await?,
            };
            manifest.splits.insert(*split, split_manifest);
        }
        let counts = self.candidates.counts(self.job.id).await?;
        description
            .finish(self.objects, &manifest, &counts.rejected_by_reason)
            .await?;
        let key = ObjectKey::manifest(&plan.id);
        self.objects.put(&key, manifest.to_json().into()).await?;
        Ok(manifest)
    }

    async fn write_split(
        &self,
        split: Split,
        rows: &[u32],
        description: &mut Description<'_>,
    ) -> Result<Vec<Shard>> {
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
                description.add(&examples).await?;
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

    /// The rows with their images' bytes and provenance.
    async fn examples(&self, rows: Vec<Row>) -> Result<Vec<Example>> {
        let images: Vec<ImageId> = rows.iter().map(|row| row.image).collect();
        let jpegs = self.images.image_bytes(self.job.id, &images).await?;
        let locations = self.images.image_sources(self.job.id, &images).await?;
        let examples = rows.into_iter().zip(jpegs).zip(locations);
        let examples = examples.map(|((row, jpeg), location)| Example {
            image: row.image,
            class: row.class,
            jpeg,
            width: row.width,
            height: row.height,
            provenance: provenance(&location),
        });
        Ok(examples.collect())
    }
}

/// What is known of an image at this location. A path says something about this machine only,
/// so that it is not given to others.
fn provenance(location: &Location) -> ExampleProvenance {
    let url = match location {
        Location::Url(url) => Some(without_secrets(url).into()),
        Location::Path(_) | Location::Line { .. } => None,
    };
    ExampleProvenance {
        url,
        ..ExampleProvenance::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_has_no_secrets_and_no_paths() {
        let url = "https://me:hunter2@h/1.jpg?token=hunter2".parse().unwrap();
        let found = provenance(&Location::Url(url)).url;
        assert_eq!(found.as_deref(), Some("https://h/1.jpg?token=REDACTED"));
        let path = Location::Path("/home/me/1.jpg".into());
        assert_eq!(provenance(&path), ExampleProvenance::default());
    }
}
