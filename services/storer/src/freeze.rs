//! The worker. It freezes a collection into a version when nothing of the collection is in
//! flight.
//!
//! * `dataset_writer`: the files of the version's dataset.
//! * `description`: the files about them.
//! * `existing`: a dataset of the same images that was frozen before.
//! * `provenance`: where an image comes from, as others may know it.
//! * `measured_upload`: the size and the hash of each shard.

mod dataset_writer;
mod description;
mod existing;
mod measured_upload;
mod provenance;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use maskline_dataset::{Split, class_warnings};
use maskline_foundation::telemetry_names::{attribute, span};
use maskline_messages::{CollectionName, DatasetId, DatasetReady, ImageId, JobId, Label};
use maskline_runtime::{WorkContext, Worker, telemetry};
use maskline_storage::{
    ObjectStore,
    catalog::{self, Candidates, Collections, Jobs, Removals},
    lease::{HeldLease, LeaseWatch},
    membership::Sources,
    purge,
    records::{Collection, Dataset, Job, Lease, Settled, SourceCount, Version, Work, now},
};
use tokio::sync::Notify;

use crate::{
    history::History,
    plan::{self, Images, Plan},
};
use dataset_writer::DatasetWriter;

/// How many images' facts are read from the catalog at a time.
const PAGE: usize = 1_000;

/// The pause before the catalog is asked whether a collection is complete. Within it, any number
/// of candidates may finish.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Freezes collections.
pub struct Freezer {
    pub objects: Arc<dyn ObjectStore>,
    pub collections: Arc<dyn Collections>,
    pub jobs: Arc<dyn Jobs>,
    /// It counts what was rejected and what was given up.
    pub candidates: Arc<dyn Candidates>,
    pub images: Arc<dyn catalog::Images>,
    pub removals: Arc<dyn Removals>,
    /// What this worker knows of other workers' leases.
    pub leases: LeaseWatch,
    /// Notified by the stage when a collection may have become complete.
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
            // An error about one collection must not hold up those behind it.
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
    /// Freezes the collection that the lease is about. Returns `false` if something of it is in
    /// flight, or if another worker has the lease.
    async fn process(&self, seen: &Lease, context: &WorkContext) -> Result<bool> {
        let Work::Freeze(name) = &seen.work else {
            bail!("{} is not the freezing of a collection", seen.work);
        };
        let Some(settled) = self.collections.settled(name).await? else {
            return Ok(false);
        };
        let claimed = self.leases.claim(seen, &context.instance).await?;
        let Some(held) = claimed else {
            return Ok(false);
        };
        let mut about = vec![(attribute::COLLECTION, name.to_string())];
        // The work belongs to the trace of the job that was enqueued last.
        let last = match settled.jobs().last() {
            Some(last) => Some(self.job(last).await?),
            None => None,
        };
        about.extend(
            last.iter()
                .map(|job| (attribute::JOB_ID, job.id.to_string())),
        );
        let trace = last.and_then(|job| job.traceparent);
        let freezing = self.freeze(name, &settled, held, context);
        telemetry::in_span_from(trace.as_deref(), span::FREEZE, about, freezing).await?;
        Ok(true)
    }

    /// Freezes the collection and announces the version.
    ///
    /// All of this can be done twice. The plan is a function of the images and of the version
    /// before, the objects' keys are made of its hash, and a version that has the same hash as
    /// the one before is that one. The ids of training runs are made of the dataset's. When the
    /// service stops, the lease is given back and the collection stays as it is.
    async fn freeze(
        &self,
        name: &CollectionName,
        settled: &Settled,
        held: HeldLease,
        context: &WorkContext,
    ) -> Result<()> {
        let is_done = tokio::select! {
            done = self.make_version(name, settled, context) => done?,
            () = held.lost() => bail!("the lease on freezing {name} was lost"),
            () = context.stopping.cancelled() => {
                tracing::info!(collection = %name, "the lease was given back, another worker will freeze the collection");
                false
            }
        };
        if is_done {
            held.finish().await?;
        } else {
            // The collection is frozen when what was opened meanwhile has finished.
            held.release().await?;
        }
        Ok(())
    }

    /// Plans the version, writes it, records it and announces it. Returns `false` if the
    /// collection was opened since it was `settled`: then nothing is recorded.
    async fn make_version(
        &self,
        name: &CollectionName,
        settled: &Settled,
        context: &WorkContext,
    ) -> Result<bool> {
        let collection = self.collections.collection(name).await?;
        let collection = collection
            .with_context(|| format!("collection {name} is to be frozen but not in the catalog"))?;
        let parent = collection.latest().map(|latest| latest.dataset);
        let removed = self.removed(name).await?;
        let history = History::read(&*self.objects, parent.as_ref()).await?;
        let history = history.without(&removed);
        let jobs = self.collections.jobs_of(name).await?;
        let content = self.content(name, &jobs, &history).await?;
        if content.images.is_empty() {
            let error = no_images(&jobs, !removed.is_empty());
            return self.fail(&collection, &error, settled).await;
        }
        let settings = collection.split.clone();
        let planned_name = name.clone();
        let images = content.images;
        let planning = move || plan::plan(&planned_name, images, &settings);
        let plan = tokio::task::spawn_blocking(planning).await?;
        if plan.size(Split::Train) == 0 && plan.withheld > 0 {
            let error = format!(
                "its test sources leave no image to train on, because all {} others look like \
                 one of theirs: enqueue other sources into {name}, or begin another collection",
                plan.withheld
            );
            return self.fail(&collection, &error, settled).await;
        }
        let about = About {
            jobs: &jobs,
            sources: &content.sources,
            counts: content.counts,
        };
        let written = self.write(&collection, about, plan, &history, settled);
        let Some(version) = written.await? else {
            return Ok(false);
        };
        self.announce(&collection, &version, settled, context)
            .await?;
        Ok(true)
    }

    /// Writes the version's dataset and records the version. If the newest version has the same
    /// content, that is the version, and its dataset is only written where it is damaged. Returns
    /// `None` if the collection was opened since it was `settled`.
    async fn write(
        &self,
        collection: &Collection,
        about: About<'_>,
        plan: Plan,
        history: &History,
        settled: &Settled,
    ) -> Result<Option<Version>> {
        let parent = collection.parent_of(&plan.content);
        let writer = DatasetWriter {
            objects: &*self.objects,
            candidates: &*self.candidates,
            images: &*self.images,
            id: plan.id(parent.as_ref()),
            collection,
            version: collection.version_after(parent.as_ref()),
            jobs: about.jobs,
            sources: about.sources,
            plan: &plan,
            history,
        };
        let manifest = match writer.write().await {
            Ok(manifest) => manifest,
            // An image of the plan may have been purged since, and then it has no pixels.
            Err(error) => {
                let was_removed = self.drop_removed(&collection.name, &plan, &writer.id);
                return match was_removed.await? {
                    true => Ok(None),
                    false => Err(error),
                };
            }
        };
        let images: BTreeMap<String, BTreeMap<Label, u64>> = manifest
            .splits
            .iter()
            .map(|(split, manifest)| (split.name().to_owned(), manifest.by_class.clone()))
            .collect();
        let faces = manifest.splits.values().filter_map(|split| split.faces);
        let dataset = Dataset {
            id: manifest.dataset,
            content: plan.content,
            collection: collection.name.clone(),
            parent,
            sources: about.counts,
            classes: plan.classes.clone(),
            images,
            near_duplicate_groups: plan.near_duplicate_groups,
            set_aside: plan.set_aside,
            withheld: plan.withheld,
            several_faces: faces.map(|counts| counts.several).sum(),
            split: collection.split.clone(),
            created: now(),
        };
        let version = self.collections.add_version(&dataset, settled).await?;
        if version.is_none() {
            let name = &collection.name;
            self.drop_removed(name, &plan, &dataset.id).await?;
        }
        if let Some(version) = &version {
            tracing::info!(
                version = %collection.version_name(version.number), dataset = %dataset.id,
                images = ?dataset.images, near_duplicate_groups = dataset.near_duplicate_groups,
                set_aside = dataset.set_aside, withheld = dataset.withheld,
                several_faces = dataset.several_faces,
                "the dataset is frozen"
            );
            for warning in class_warnings(&dataset.classes, &dataset.images) {
                tracing::warn!(version = %collection.version_name(version.number), "{warning}");
            }
            if dataset.set_aside > 0 {
                tracing::warn!(
                    version = %collection.version_name(version.number),
                    images = dataset.set_aside,
                    "images were set aside, because the sources contradict each other about them"
                );
            }
        }
        Ok(version)
    }

    /// Deletes the files of a dataset that became no version, if an image in it was removed
    /// meanwhile. No later dataset has its id, because no other has that image. Returns whether an
    /// image was removed.
    async fn drop_removed(
        &self,
        name: &CollectionName,
        plan: &Plan,
        dataset: &DatasetId,
    ) -> Result<bool> {
        let removed = self.removed(name).await?;
        let is_removed = |image: &ImageId| removed.binary_search(image).is_ok();
        if !plan.members().any(|(image, ..)| is_removed(&image)) {
            return Ok(false);
        }
        let collection = self.collections.collection(name).await?;
        let mut versions = collection.iter().flat_map(|found| &found.versions);
        if versions.all(|version| version.dataset != *dataset) {
            purge::delete_dataset(&*self.objects, dataset, false).await?;
        }
        Ok(true)
    }

    /// The images that were removed from the collection, sorted.
    async fn removed(&self, name: &CollectionName) -> Result<Vec<ImageId>> {
        let mut removed: Vec<ImageId> = vec![];
        loop {
            let page = self.removals.removed_images(name, removed.last(), PAGE);
            let page = page.await?;
            let is_last = page.len() < PAGE;
            removed.extend(page);
            if is_last {
                return Ok(removed);
            }
        }
    }

    /// Announces the version to the trainers, and records that the jobs are frozen in it. The
    /// announcement comes first, because nobody would repeat it after that.
    async fn announce(
        &self,
        collection: &Collection,
        version: &Version,
        settled: &Settled,
        context: &WorkContext,
    ) -> Result<()> {
        let dataset = version.dataset;
        for id in settled.jobs() {
            let job = self.job(id).await?;
            if !job.train.is_empty() {
                let ready = DatasetReady {
                    job: Some(id),
                    dataset,
                    networks: job.train,
                    settings: job.settings,
                };
                context.send(ready).await?;
            }
            self.jobs.freeze(id, version, settled).await?;
        }
        for wish in &collection.requests {
            let ready = DatasetReady {
                job: None,
                dataset,
                networks: wish.networks.clone(),
                settings: wish.settings.clone(),
            };
            context.send(ready).await?;
            self.collections
                .finish_request(&collection.name, wish)
                .await?;
        }
        Ok(())
    }

    /// Records why the collection can't be frozen, for itself and for the jobs that wait.
    async fn fail(&self, collection: &Collection, error: &str, settled: &Settled) -> Result<bool> {
        let name = &collection.name;
        self.collections.fail_freezing(name, error, settled).await?;
        for id in settled.jobs() {
            self.jobs.fail_settled(id, error, settled).await?;
        }
        for wish in &collection.requests {
            self.collections.finish_request(name, wish).await?;
        }
        tracing::error!(collection = %name, "{error}");
        Ok(true)
    }

    async fn job(&self, id: JobId) -> Result<Job> {
        let job = self.jobs.job(id).await?;
        job.with_context(|| format!("job {id} is to be frozen but not in the catalog"))
    }

    /// Reads what the plan needs to know of the collection's images.
    async fn content(
        &self,
        name: &CollectionName,
        jobs: &[Job],
        history: &History,
    ) -> Result<Content> {
        let sources = Sources::among(jobs, &*self.candidates).await?;
        let mut images = Images::default();
        let mut counts: BTreeMap<JobId, u64> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.images.image_facts(name, after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|fact| fact.image);
            for facts in &page {
                let Some(member) = sources.membership(&facts.sightings) else {
                    continue;
                };
                *counts.entry(member.first.0).or_default() += 1;
                images.add(facts, member, history.split(&facts.image));
            }
            if is_last {
                break;
            }
        }
        let count = |job: &Job| {
            let images = counts.get(&job.id).copied()?;
            Some(SourceCount {
                job: job.id,
                role: job.role,
                images,
            })
        };
        Ok(Content {
            images,
            counts: jobs.iter().filter_map(count).collect(),
            sources,
        })
    }
}

/// Why a collection has no images, and what can be done.
fn no_images(jobs: &[Job], images_were_removed: bool) -> String {
    let newest = jobs.iter().rev().find(|job| !job.is_removed());
    match newest {
        Some(newest) if !images_were_removed => format!(
            "none of its images was accepted: `maskline rejects {}` says why",
            newest.id
        ),
        _ => "no image is left in it, because those that were accepted were removed: enqueue another \
              source into it"
            .to_owned(),
    }
}

/// What is in a collection.
struct Content {
    images: Images,
    sources: Sources,
    /// How many images each source has brought.
    counts: Vec<SourceCount>,
}

/// Where the images of a version come from.
struct About<'a> {
    /// All jobs of the collection.
    jobs: &'a [Job],
    /// Those of them that count.
    sources: &'a Sources,
    counts: Vec<SourceCount>,
}
