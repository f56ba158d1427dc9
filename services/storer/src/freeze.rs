//! The worker. It makes one dataset of a job when none of the job's candidates is in flight.
//!
//! * `dataset_writer`: the dataset's files.
//! * `description`: the files about them.
//! * `existing`: a dataset of the same images that was frozen before.
//! * `measured_upload`: the size and the hash of each shard.

mod dataset_writer;
mod description;
mod existing;
mod measured_upload;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use maskline_foundation::telemetry_names::{attribute, span};
use maskline_messages::{DatasetReady, JobId, Label};
use maskline_runtime::{WorkContext, Worker, telemetry};
use maskline_storage::{
    ObjectStore,
    catalog::{self, Candidates, Jobs},
    lease::{HeldLease, LeaseWatch},
    records::{Dataset, Job, JobState, Lease, Settled, Work, now},
};
use tokio::sync::Notify;

use crate::plan::{self, Images};
use dataset_writer::DatasetWriter;

/// How many images' facts are read from the catalog at a time.
const PAGE: usize = 1_000;

/// The pause before the catalog is asked whether a job is complete. Within it, any number of
/// candidates may finish.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Freezes datasets.
pub struct Freezer {
    pub objects: Arc<dyn ObjectStore>,
    pub jobs: Arc<dyn Jobs>,
    /// It counts what was rejected, for the dataset's card.
    pub candidates: Arc<dyn Candidates>,
    pub images: Arc<dyn catalog::Images>,
    /// What this worker knows of other workers' leases.
    pub leases: LeaseWatch,
    /// Notified by the stage when a job may have become complete.
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
        tokio::time::sleep(CHECK_INTERVAL).await;
        let mut first_error = None;
        for seen in self.leases.open_work("freeze").await? {
            // An error about one job must not hold up the jobs behind it.
            match self.process(&seen, context).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(false), Err)
    }
}

impl Freezer {
    /// Freezes the job that the lease is about. Returns `false` if the job is not complete
    /// yet, or if another worker has the lease.
    async fn process(&self, seen: &Lease, context: &WorkContext) -> Result<bool> {
        let &Work::Freeze(id) = &seen.work else {
            bail!("{} is not the freezing of a job", seen.work);
        };
        let job = self.job(id).await?;
        let settled = match job.state {
            JobState::Expanding => return Ok(false),
            JobState::Running => match self.jobs.settled(id).await? {
                Some(settled) => Some(settled),
                None => return Ok(false),
            },
            // The job is frozen or failed. The process that did this died before it
            // announced it.
            JobState::Frozen | JobState::Failed => None,
        };
        let claimed = self.leases.claim(seen, &context.instance).await?;
        let Some(held) = claimed else {
            return Ok(false);
        };
        let about = [(attribute::JOB_ID, id.to_string())];
        let freezing = self.freeze(id, settled, held, context);
        telemetry::in_span_from(job.traceparent.as_deref(), span::FREEZE, about, freezing).await?;
        Ok(true)
    }

    async fn job(&self, id: JobId) -> Result<Job> {
        let job = self.jobs.job(id).await?;
        job.with_context(|| format!("job {id} is to be frozen but not in the catalog"))
    }

    /// Makes the job's dataset and announces it.
    ///
    /// All of this can be done twice. The plan is a function of the images, the objects'
    /// keys are made of its hash, and the ids of training runs are made of the dataset's.
    /// A job that is frozen already is not planned again, only announced. When the service
    /// stops, the lease is given back and the job stays as it is.
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
                    tracing::info!(job = %id, "the lease was given back, another worker will freeze the job");
                    return Ok(held.release().await?);
                }
            }
        }
        let job = self.job(id).await?;
        if job.state == JobState::Running {
            // A candidate was opened again meanwhile. The job is frozen when that one has
            // finished.
            return Ok(held.release().await?);
        }
        self.announce(job, context).await?;
        Ok(held.finish().await?)
    }

    /// Announces the dataset to the trainers. A job that failed has none.
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

    /// Plans the dataset, writes it and records it. If a candidate was opened again since
    /// the job was `settled`, the catalog records nothing.
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
        let writer = DatasetWriter {
            objects: &*self.objects,
            candidates: &*self.candidates,
            images: &*self.images,
            job,
            plan: &plan,
        };
        let manifest = writer.write().await?;
        let images: BTreeMap<String, BTreeMap<Label, u64>> = manifest
            .splits
            .iter()
            .map(|(split, manifest)| (split.name().to_owned(), manifest.by_class.clone()))
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

    /// Reads what the plan needs to know of the job's images.
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
}
