//! Writing a planned dataset into the object store: Parquet shards, what is said about them, the
//! list of members and a manifest.

use std::collections::BTreeMap;

use anyhow::Result;
use maskline_dataset::{
    Example, FaceCounts, GROUP_ROWS, LAYOUT_VERSION, MEMBERS_GROUP, Manifest, Member,
    MembersWriter, Original, SHARD_ROWS, Shard, ShardWriter, Split, SplitManifest,
};
use maskline_messages::{DatasetId, ImageId, ObjectKey, VersionName};
use maskline_storage::{
    ObjectStore,
    catalog::{Candidates, Images},
    membership::Sources,
    records::{Candidate, Collection, Job, Sighting},
};

use super::{
    description::Description, existing::whole_dataset, measured_upload::MeasuredUpload,
    provenance::provenance,
};
use crate::{
    history::History,
    plan::{Plan, Row},
};

/// Writes one dataset.
pub(super) struct DatasetWriter<'a> {
    pub(super) objects: &'a dyn ObjectStore,
    pub(super) candidates: &'a dyn Candidates,
    pub(super) images: &'a dyn Images,
    /// The dataset's id.
    pub(super) id: DatasetId,
    pub(super) collection: &'a Collection,
    /// The version that the dataset becomes.
    pub(super) version: VersionName,
    /// The jobs of the collection.
    pub(super) jobs: &'a [Job],
    /// Those of them that count.
    pub(super) sources: &'a Sources,
    pub(super) plan: &'a Plan,
    pub(super) history: &'a History,
}

impl DatasetWriter<'_> {
    /// Writes the shards and the files about them first, and the manifest last. So where
    /// there is a manifest, the dataset is whole.
    ///
    /// A dataset of the same id that is whole already is left as it is, because a trainer may
    /// be reading it.
    pub(super) async fn write(&self) -> Result<Manifest> {
        let plan = self.plan;
        let mut manifest = Manifest {
            version: LAYOUT_VERSION,
            dataset: self.id,
            classes: plan.classes.clone(),
            splits: BTreeMap::new(),
            split_settings: self.collection.split.clone(),
            near_duplicate_groups: plan.near_duplicate_groups,
            set_aside: plan.set_aside,
        };
        if let Some(existing) = whole_dataset(self.objects, &manifest).await? {
            return Ok(existing);
        }
        let mut description = Description::begin(self.objects, &self.id).await?;
        for (split, rows) in &plan.rows {
            let mut by_class = BTreeMap::new();
            for &number in rows {
                let class = &plan.classes[plan.row(number).class];
                *by_class.entry(class.clone()).or_default() += 1;
            }
            let (shards, faces) = self.write_split(*split, rows, &mut description).await?;
            let split_manifest = SplitManifest {
                images: rows.len() as u64,
                by_class,
                faces: Some(faces),
                shards,
            };
            manifest.splits.insert(*split, split_manifest);
        }
        let rejected = self.rejected().await?;
        description
            .finish(self.objects, &self.version, &manifest, &rejected)
            .await?;
        self.write_members().await?;
        let key = ObjectKey::manifest(&self.id);
        self.objects.put(&key, manifest.to_json().into()).await?;
        Ok(manifest)
    }

    /// Writes the shards of a split, and counts the faces in its images.
    async fn write_split(
        &self,
        split: Split,
        rows: &[u32],
        description: &mut Description<'_>,
    ) -> Result<(Vec<Shard>, FaceCounts)> {
        let plan = self.plan;
        let count = rows.len().div_ceil(SHARD_ROWS);
        let mut shards = vec![];
        let mut faces = FaceCounts::default();
        for (index, rows) in rows.chunks(SHARD_ROWS).enumerate() {
            let file = split.shard_file(index, count);
            let key = ObjectKey::dataset_file(&self.id, &file)?;
            let mut writer = ShardWriter::new(&plan.classes)?;
            let upload = self.objects.upload(&key).await?;
            let mut upload = MeasuredUpload::new(upload);
            for group in rows.chunks(GROUP_ROWS) {
                let group = group.iter().map(|&number| plan.row(number)).collect();
                let examples = self.examples(group).await?;
                upload.write(writer.write(&examples)?).await?;
                let faces_of_each = examples.iter().map(|example| example.faces.as_deref());
                faces_of_each.for_each(|found| faces.add(found));
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
        Ok((shards, faces))
    }

    async fn write_members(&self) -> Result<()> {
        let key = ObjectKey::dataset_members(&self.id);
        let mut upload = self.objects.upload(&key).await?;
        let mut writer = MembersWriter::new()?;
        let mut members = self.history.continued_by(self.plan);
        loop {
            let group: Vec<Member> = members.by_ref().take(MEMBERS_GROUP).collect();
            if group.is_empty() {
                break;
            }
            upload.write(writer.write(&group)?).await?;
        }
        upload.write(writer.finish()?).await?;
        Ok(upload.finish().await?)
    }

    /// How many candidates of the collection were rejected, by the code of the reason.
    async fn rejected(&self) -> Result<BTreeMap<String, u64>> {
        let mut rejected: BTreeMap<String, u64> = BTreeMap::new();
        for job in self.jobs {
            let counts = self.candidates.counts(job.id).await?;
            for (reason, count) in counts.rejected_by_reason {
                *rejected.entry(reason).or_default() += count;
            }
        }
        Ok(rejected)
    }

    /// The candidates that stand for images, each of a source that was removed replaced by the first
    /// of those that count. `sightings` are all candidates of each image.
    async fn without_removed(
        &self,
        mut candidates: Vec<Candidate>,
        sightings: &[Vec<Sighting>],
    ) -> Result<Vec<Candidate>> {
        let is_removed = |candidate: &Candidate| {
            let mut jobs = self.jobs.iter().filter(|job| job.is_removed());
            jobs.any(|job| job.id == candidate.job)
        };
        for (candidate, sightings) in candidates.iter_mut().zip(sightings) {
            if !is_removed(candidate) {
                continue;
            }
            let Some(member) = self.sources.membership(sightings) else {
                continue;
            };
            let (_, first) = member.first;
            if let Some(first) = self.candidates.candidate(first).await? {
                *candidate = first;
            }
        }
        Ok(candidates)
    }

    /// The rows with their images' bytes, measurements and provenance.
    async fn examples(&self, rows: Vec<Row>) -> Result<Vec<Example>> {
        let images: Vec<ImageId> = rows.iter().map(|row| row.image).collect();
        let name = &self.collection.name;
        let jpegs = self.images.image_bytes(name, &images).await?;
        let measurements = self.images.image_measurements(name, &images).await?;
        let candidates = self.images.image_candidates(name, &images).await?;
        let sightings = self.images.sightings(name, &images).await?;
        let candidates = self.without_removed(candidates, &sightings).await?;
        let found = jpegs
            .into_iter()
            .zip(measurements)
            .zip(candidates)
            .zip(sightings);
        let examples = rows.into_iter().zip(found);
        let examples = examples.map(|(row, (((jpeg, measurements), candidate), sightings))| {
            let job = self.jobs.iter().find(|job| job.id == candidate.job);
            Example {
                image: row.image,
                class: row.class,
                jpeg,
                width: row.width,
                height: row.height,
                original: Some(Original::of(&measurements)),
                faces: measurements.faces,
                group: Some(row.group),
                provenance: provenance(candidate, job, self.sources.jobs_with(&sightings)),
            }
        });
        Ok(examples.collect())
    }
}
