//! A collection as a person asks about it: its sources, its images, its versions and its newest
//! model.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use maskline_messages::{CollectionName, DatasetId, JobId, Label, RunId, VersionName};
use maskline_storage::{
    Catalog,
    membership::Sources,
    records::{CandidateState, Collection, Dataset, Job, JobState},
};
use serde::Serialize;

use crate::{dataset_remarks, lookup, output};

/// The most candidates that are read at a time.
const PAGE: usize = 1_000;

/// A collection with what is in it now. `maskline collections --json` prints one as a line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CollectionView {
    pub(crate) name: CollectionName,
    pub(crate) classes: Vec<Label>,
    /// The number of sources that were enqueued into it and not removed.
    pub(crate) sources: u64,
    /// The number of images that its sources brought into it, frozen or not.
    pub(crate) images: u64,
    /// The number of candidates that are still on their way.
    pub(crate) in_flight: u64,
    /// The number of its versions that are not deleted.
    pub(crate) versions: u64,
    pub(crate) latest: Option<VersionView>,
    /// The jobs that must end before it can be frozen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) waits_for: Vec<JobId>,
    /// Why it could not be frozen, if it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub(crate) created: u64,
}

/// The newest version of a collection.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct VersionView {
    pub(crate) version: VersionName,
    pub(crate) dataset: DatasetId,
    /// The number of its images by class, in all splits.
    pub(crate) images: BTreeMap<Label, u64>,
    /// The model that was trained on it last, if there is one.
    pub(crate) model: Option<RunId>,
    /// What a person should know of it before training on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remarks: Vec<String>,
}

impl CollectionView {
    /// What is in the collection, as a part of a sentence.
    pub(crate) fn sentence(&self) -> String {
        let Self {
            name,
            sources,
            images,
            ..
        } = self;
        let plural = if *sources == 1 { "" } else { "s" };
        let latest = match &self.latest {
            Some(latest) => format!("its newest version is {}", latest.version),
            None => "it has no version yet".to_owned(),
        };
        format!("collection {name}: {sources} source{plural}, {images} images, {latest}")
    }
}

/// Reads what is in a collection now.
pub(crate) async fn view(catalog: &dyn Catalog, collection: Collection) -> Result<CollectionView> {
    let jobs = catalog.jobs_of(&collection.name).await?;
    let (mut sources, mut images, mut in_flight) = (0, 0, 0);
    let mut waits_for = vec![];
    for job in jobs.iter().filter(|job| !job.is_removed()) {
        let counts = catalog.counts(job.id).await?;
        sources += 1;
        // An image that several sources have is stored for the first of them alone.
        images += counts.stored;
        in_flight += counts.in_flight;
        if job.state == JobState::Expanding || counts.in_flight > 0 {
            waits_for.push(job.id);
        }
    }
    images += stored_for_removed_sources(catalog, &collection.name, &jobs).await?;
    Ok(CollectionView {
        latest: latest(catalog, &collection).await?,
        versions: collection.versions.iter().filter(|v| !v.deleted).count() as u64,
        waits_for,
        name: collection.name,
        classes: collection.classes,
        sources,
        images,
        in_flight,
        error: collection.error,
        created: collection.created,
    })
}

/// How many images were stored for a source that was removed, and are in the collection because
/// another source has them, too.
async fn stored_for_removed_sources(
    catalog: &dyn Catalog,
    collection: &CollectionName,
    jobs: &[Job],
) -> Result<u64> {
    let sources = Sources::among(jobs, catalog).await?;
    let mut images = 0;
    for job in jobs.iter().filter(|job| job.is_removed()) {
        let mut last = None;
        loop {
            let stored = CandidateState::Stored;
            let page = catalog.candidates_in(job.id, stored, last, PAGE).await?;
            let of: Vec<_> = page.iter().filter_map(|stored| stored.image).collect();
            let sightings = catalog.sightings(collection, &of).await?;
            let is_left = |sightings: &&Vec<_>| sources.membership(sightings).is_some();
            images += sightings.iter().filter(is_left).count() as u64;
            last = page.last().map(|stored| stored.id);
            if page.len() < PAGE {
                break;
            }
        }
    }
    Ok(images)
}

/// Reads all collections, the newest first.
pub(crate) async fn views(catalog: &dyn Catalog) -> Result<Vec<CollectionView>> {
    let mut views = vec![];
    for collection in catalog.collections(lookup::ALL).await? {
        views.push(view(catalog, collection).await?);
    }
    Ok(views)
}

async fn latest(catalog: &dyn Catalog, collection: &Collection) -> Result<Option<VersionView>> {
    let Some(version) = collection.latest_kept() else {
        return Ok(None);
    };
    let dataset = catalog.dataset(&version.dataset).await?;
    let dataset = dataset.with_context(|| {
        format!(
            "dataset {} is a version but not in the catalog",
            version.dataset
        )
    })?;
    let models = catalog.models(lookup::ALL).await?;
    let model = models.into_iter().find(|model| model.dataset == dataset.id);
    let version = collection.version_name(version.number);
    Ok(Some(VersionView {
        remarks: dataset_remarks::remarks(&version, &dataset),
        version,
        images: by_class(&dataset),
        dataset: dataset.id,
        model: model.map(|model| model.id),
    }))
}

/// The number of a dataset's images by class, in all splits.
fn by_class(dataset: &Dataset) -> BTreeMap<Label, u64> {
    let mut images: BTreeMap<Label, u64> = BTreeMap::new();
    for (class, count) in dataset.images.values().flatten() {
        *images.entry(class.clone()).or_default() += count;
    }
    images
}

/// What each collection waits for, in sentences.
pub(crate) fn waiting(views: &[CollectionView]) -> Vec<String> {
    let waiting = views.iter().filter(|view| !view.waits_for.is_empty());
    let sentence = |view: &CollectionView| {
        let jobs: Vec<_> = view.waits_for.iter().map(ToString::to_string).collect();
        format!(
            "{} is not frozen before these jobs have ended: {}.",
            view.name,
            jobs.join(", ")
        )
    };
    waiting.map(sentence).collect()
}

/// A table with a line for each collection.
pub(crate) fn table(views: &[CollectionView]) -> comfy_table::Table {
    use comfy_table::Cell;
    let mut table = output::table(&[
        "collection",
        "sources",
        "images",
        "in flight",
        "newest version",
        "by class",
        "model",
    ]);
    for view in views {
        let latest = view.latest.as_ref();
        let dash = || "-".to_owned();
        let by_class = |latest: &VersionView| {
            let counts = latest.images.iter();
            let counts: Vec<_> = counts.map(|(class, n)| format!("{class} {n}")).collect();
            counts.join(", ")
        };
        let model = latest.and_then(|latest| latest.model);
        table.add_row([
            Cell::new(&view.name),
            output::number(view.sources),
            output::number(view.images),
            output::number(view.in_flight),
            Cell::new(latest.map_or_else(dash, |latest| latest.version.to_string())),
            Cell::new(latest.map_or_else(dash, by_class)),
            Cell::new(model.map_or_else(dash, |model| model.to_string())),
        ]);
    }
    table
}
