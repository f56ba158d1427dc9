//! The worker: a job of which nothing is in flight becomes a dataset, once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use maskline_dataset::{Example, GROUP_ROWS, SHARD_ROWS, ShardWriter};
use maskline_messages::{DatasetId, DatasetReady, ImageId, JobId, Label, ObjectKey};
use maskline_runtime::{WorkContext, Worker, telemetry};
use maskline_storage::{
    ObjectStore, StorageError, Upload,
    catalog::{self, Jobs},
    lease::{HeldLease, LeaseWatch},
    records::{Dataset, Job, JobState, Lease, Settled, Work, now},
};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::{
    manifest::{self, Manifest, Shard, SplitManifest},
    plan::{self, Images, Plan, Row, Split},
};

/// Facts that are asked for at a time.
const PAGE: usize = 1_000;

/// Not more often than this is the catalog asked whether a job is complete,
/// however many images end in the meantime.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Freezes datasets.
pub struct Freezer {
    pub objects: Arc<dyn ObjectStore>,
    pub jobs: Arc<dyn Jobs>,
    pub images: Arc<dyn catalog::Images>,
    pub leases: LeaseWatch,
    pub progress: Arc<Notify>,
}

#[async_trait]
impl Worker for Freezer {
    fn name(&self) -> &'static str {
        "freeze"
    }

    fn notify(&self) -> Arc<Notify> {
        self.progress.clone()
    }

    async fn work(&self, context: &WorkContext) -> Result<bool> {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut first_error = None;
        for seen in self.leases.open_work("freeze").await? {
            // One job's trouble must not hold up those behind it.
            match self.see_to(&seen, context).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(false), Err)
    }
}

impl Freezer {
    /// `false`: the job is not complete, or in the hands of another.
    async fn see_to(&self, seen: &Lease, context: &WorkContext) -> Result<bool> {
        let &Work::Freeze(id) = &seen.work else {
            bail!("{} is no freezing", seen.work);
        };
        let job = self.job(id).await?;
        let settled = match job.state {
            JobState::Expanding => return Ok(false),
            JobState::Running => match self.jobs.settled(id).await? {
                Some(settled) => Some(settled),
                None => return Ok(false),
            },
            // Frozen or failed, and the process that did it died before it said so.
            JobState::Frozen | JobState::Failed => None,
        };
        let claimed = self.leases.claim(seen, &context.instance).await?;
        let Some(held) = claimed else {
            return Ok(false);
        };
        let about = [(telemetry::JOB_ID, id.to_string())];
        let freezing = self.freeze(id, settled, held, context);
        telemetry::in_span_from(job.traceparent.as_deref(), "freeze", about, freezing).await?;
        Ok(true)
    }

    async fn job(&self, id: JobId) -> Result<Job> {
        let job = self.jobs.job(id).await?;
        job.with_context(|| format!("job {id} is to be frozen but not in the catalog"))
    }

    /// Everything here can be done twice: the plan is a function of the images,
    /// the objects lie under its hash, and the dataset's id makes the runs'. What
    /// is frozen is not planned again, only announced. Asked to stop, it gives the
    /// job back as it is.
    async fn freeze(
        &self,
        id: JobId,
        settled: Option<Settled>,
        held: HeldLease,
        context: &WorkContext,
    ) -> Result<()> {
        let job = self.job(id).await?;
        if let (JobState::Running, Some(settled)) = (job.state, settled) {
            tokio::select! {
                done = self.make_dataset(&job, settled) => done?,
                () = held.lost() => bail!("the lease on freezing job {id} was lost"),
                () = context.stopping.cancelled() => {
                    tracing::info!(job = %id, "given back, to be frozen by another");
                    return Ok(held.release().await?);
                }
            }
        }
        let job = self.job(id).await?;
        if job.state == JobState::Running {
            // A candidate was opened again meanwhile: to be frozen with it.
            return Ok(held.release().await?);
        }
        self.announce(job, context).await?;
        Ok(held.finish().await?)
    }

    /// Nothing to announce where no dataset came of it.
    async fn announce(&self, job: Job, context: &WorkContext) -> Result<()> {
        let Some(dataset) = job.dataset else {
            return Ok(());
        };
        let ready = DatasetReady {
            job: job.id,
            dataset,
            networks: job.train,
            settings: job.settings,
        };
        Ok(context.send(ready).await?)
    }

    async fn make_dataset(&self, job: &Job, settled: Settled) -> Result<()> {
        let images = self.images(job.id).await?;
        if images.is_empty() {
            let error = format!(
                "none of its images was accepted: `maskline rejects {}` says why",
                job.id
            );
            self.jobs.fail_settled(job.id, &error, settled).await?;
            if self.job(job.id).await?.state == JobState::Failed {
                tracing::error!(job = %job.id, "{error}");
            }
            return Ok(());
        }
        let settings = job.split.clone();
        let plan = tokio::task::spawn_blocking(move || plan::plan(images, &settings)).await?;
        let manifest = self.write(job, &plan).await?;
        let images: BTreeMap<String, BTreeMap<Label, u64>> = manifest
            .splits
            .iter()
            .map(|(name, split)| (name.clone(), split.by_class.clone()))
            .collect();
        let dataset = Dataset {
            id: plan.id,
            job: job.id,
            classes: plan.classes,
            images,
            near_duplicate_groups: plan.near_duplicate_groups,
            set_aside: plan.set_aside,
            split: job.split.clone(),
            created: now(),
        };
        self.jobs.freeze(job.id, &dataset, settled).await?;
        if self.job(job.id).await?.state == JobState::Frozen {
            tracing::info!(
                job = %job.id, dataset = %dataset.id, images = ?dataset.images,
                near_duplicate_groups = dataset.near_duplicate_groups, set_aside = dataset.set_aside,
                "the dataset is frozen"
            );
        }
        Ok(())
    }

    async fn images(&self, job: JobId) -> Result<Images> {
        let (mut images, mut after) = (Images::default(), None);
        loop {
            let page = self.images.image_facts(job, after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|fact| fact.image);
            images.extend(page);
            if is_last {
                return Ok(images);
            }
        }
    }

    /// Shards first, the manifest last: where it lies, the dataset is whole.
    async fn write(&self, job: &Job, plan: &Plan) -> Result<Manifest> {
        let mut splits = BTreeMap::new();
        for (split, rows) in &plan.rows {
            let mut by_class = BTreeMap::new();
            for &number in rows {
                let class = &plan.classes[plan.row(number).class];
                *by_class.entry(class.clone()).or_default() += 1;
            }
            let shards = self.write_split(job.id, plan, *split, rows).await?;
            let images = rows.len() as u64;
            splits.insert(
                split.name().to_owned(),
                SplitManifest {
                    images,
                    by_class,
                    shards,
                },
            );
        }
        let manifest = Manifest {
            version: manifest::VERSION,
            dataset: plan.id,
            classes: plan.classes.clone(),
            splits,
            split_settings: job.split.clone(),
            near_duplicate_groups: plan.near_duplicate_groups,
            set_aside: plan.set_aside,
        };
        let json = serde_json::to_vec_pretty(&manifest)?;
        self.objects
            .put(&key(&plan.id, manifest::FILE), json.into())
            .await?;
        Ok(manifest)
    }

    async fn write_split(
        &self,
        job: JobId,
        plan: &Plan,
        split: Split,
        rows: &[u32],
    ) -> Result<Vec<Shard>> {
        let count = rows.len().div_ceil(SHARD_ROWS);
        let mut shards = vec![];
        for (index, rows) in rows.chunks(SHARD_ROWS).enumerate() {
            let file = format!("data/{}-{index:05}-of-{count:05}.parquet", split.name());
            let mut writer = ShardWriter::new(&plan.classes)?;
            let mut shard = Measured::new(self.objects.upload(&key(&plan.id, &file)).await?);
            for group in rows.chunks(GROUP_ROWS) {
                let group = group.iter().map(|&number| plan.row(number)).collect();
                let examples = self.examples(job, group).await?;
                shard.write(writer.write(&examples)?).await?;
            }
            shard.write(writer.finish()?).await?;
            let (bytes, sha256) = shard.finish().await?;
            shards.push(Shard {
                file,
                rows: rows.len() as u64,
                bytes,
                sha256,
            });
        }
        Ok(shards)
    }

    async fn examples(&self, job: JobId, rows: Vec<Row>) -> Result<Vec<Example>> {
        let images: Vec<ImageId> = rows.iter().map(|row| row.image).collect();
        let pictures = self.images.image_bytes(job, &images).await?;
        let examples = rows.into_iter().zip(pictures).map(|(row, jpeg)| Example {
            image: row.image,
            class: row.class,
            jpeg,
            width: row.width,
            height: row.height,
        });
        Ok(examples.collect())
    }
}

/// An upload whose bytes are counted and hashed.
struct Measured<'a> {
    upload: Box<dyn Upload + 'a>,
    bytes: u64,
    hash: Sha256,
}

impl<'a> Measured<'a> {
    fn new(upload: Box<dyn Upload + 'a>) -> Self {
        Self {
            upload,
            bytes: 0,
            hash: Sha256::new(),
        }
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), StorageError> {
        self.bytes += piece.len() as u64;
        self.hash.update(&piece);
        self.upload.write(piece).await
    }

    /// How many bytes the object has, and their SHA-256 in hexadecimal digits.
    async fn finish(self) -> Result<(u64, String), StorageError> {
        self.upload.finish().await?;
        Ok((self.bytes, hex::encode(self.hash.finalize())))
    }
}

fn key(dataset: &DatasetId, file: &str) -> ObjectKey {
    ObjectKey::dataset(dataset, file).expect("our own file names are plain")
}
