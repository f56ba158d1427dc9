//! Sources and images that a person removes.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use maskline_dataset::Split;
use maskline_messages::{
    CandidateId, CollectionName, DatasetId, ImageId, Measurements, ObjectKey, Reason,
};
use maskline_runtime::{Context, Handler, Worker};
use maskline_storage::{
    Catalog, StorageError,
    catalog::Images,
    lease::LeaseWatch,
    purge::purge_images,
    records::{
        Candidate, CandidateState, Claim, ImageDocument, ImageFacts, Job, JobState, OutcomeKind,
        Sighting,
    },
};
use maskline_storer::freeze::Freezer;

use crate::{
    collections::{folder, in_split},
    environment::{Environment, PIXELS, labeled},
};

fn usual() -> CollectionName {
    CollectionName::default()
}

/// The image with this number.
fn image(number: u64) -> ImageId {
    ImageId::of(&number.to_le_bytes())
}

impl Environment {
    /// A second source has an image that is stored already.
    async fn copy(&self, job: &Job, candidate: CandidateId, of: CandidateId, number: u64) {
        let reason = Reason::ExactDuplicate { of };
        let copied = OutcomeKind::Rejected {
            stage: "labeler".to_owned(),
            reason,
        };
        self.finish(candidate, Some(image(number)), copied).await;
        assert_eq!(self.state(job.id).await.id, job.id);
    }

    /// Claims the image with this number for a candidate, as the labeler does.
    async fn claim(&self, number: u64, candidate: CandidateId) {
        let (collection, image) = (usual(), image(number));
        let catalog = &self.stores.catalog;
        let claim = catalog.claim_image(&collection, &image, candidate).await;
        assert_eq!(claim, Ok(Claim::Held(candidate)));
    }

    /// Freezes the collection by hand.
    async fn next_version(&self) -> DatasetId {
        let catalog = &self.stores.catalog;
        let freezing = maskline_storage::records::Work::Freeze(usual());
        catalog.offer_work_again(&freezing).await.unwrap();
        assert!(self.freeze().await);
        let collection = catalog.collection(&usual()).await.unwrap().unwrap();
        assert_eq!(collection.error, None);
        collection.latest().unwrap().dataset
    }

    /// The datasets of which there are objects.
    async fn datasets_with_objects(&self) -> BTreeSet<String> {
        let objects = self.stores.objects.list("datasets", None, 1_000).await;
        let objects = objects.unwrap();
        let names = objects.iter().map(|key| key.as_str().split('/').nth(1));
        names.map(|name| name.unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn the_next_version_is_without_a_removed_source() {
    let environment = Environment::new().await;
    let catalog = &environment.stores.catalog;
    let (a, b) = (folder("a"), folder("b"));
    let (_, of_a) = environment.enqueue(&a, 0..20).await;
    for (number, candidate) in (0..20).zip(&of_a) {
        environment.store(a.id, *candidate, number).await;
    }
    environment.expanded(a.id).await;
    // The first five are in both.
    let (_, of_b) = environment.enqueue(&b, 0..30).await;
    for (number, candidate) in (0..5).zip(&of_b) {
        environment
            .copy(&b, *candidate, of_a[number as usize], number)
            .await;
    }
    for (number, candidate) in (20..30).zip(&of_b[20..]) {
        environment.store(b.id, *candidate, number).await;
    }
    for candidate in &of_b[5..20] {
        let gone = OutcomeKind::Rejected {
            stage: "scraper".to_owned(),
            reason: Reason::HttpStatus { status: 404 },
        };
        environment.finish(*candidate, None, gone).await;
    }
    environment.expanded(b.id).await;
    assert!(environment.freeze().await);
    let first = environment.state(b.id).await.dataset.unwrap();
    let first = environment.members(&first).await;
    assert_eq!(first.len(), 30);

    catalog.remove_job(a.id, 7, false).await.unwrap();
    let second = environment.next_version().await;
    let members = environment.members(&second).await;
    let present: BTreeSet<ImageId> = members
        .values()
        .filter(|member| member.label.is_some())
        .map(|member| member.image)
        .collect();
    let expected: BTreeSet<ImageId> = (0..5).chain(20..30).map(image).collect();
    assert_eq!(present, expected);
    // A source that is gone may come back, so its images are remembered.
    assert_eq!(members.len(), 30);
    let (trained, validated) = (
        in_split(&first, Split::Train),
        in_split(&members, Split::Validation),
    );
    assert!(trained.is_disjoint(&validated));
    let dataset = catalog.dataset(&second).await.unwrap().unwrap();
    let sources: Vec<_> = dataset.sources.iter().map(|s| (s.job, s.images)).collect();
    assert_eq!(sources, [(b.id, 15)]);
    assert_eq!(environment.state(a.id).await.state, JobState::Frozen);
}

#[tokio::test]
async fn a_plan_from_before_an_image_was_removed_leaves_nothing() {
    for is_purged in [false, true] {
        leaves_nothing_of_the_plan(is_purged).await;
    }
}

async fn leaves_nothing_of_the_plan(is_purged: bool) {
    let environment = Environment::new().await;
    let catalog = &environment.stores.catalog;
    environment.fill(&folder("a"), 0..20).await;
    let removing = Removing {
        catalog: catalog.clone(),
        image: image(7),
        is_purged,
    };
    let freezer = Freezer {
        objects: environment.stores.objects.clone(),
        collections: catalog.clone(),
        jobs: catalog.clone(),
        candidates: catalog.clone(),
        images: Arc::new(removing),
        removals: catalog.clone(),
        leases: LeaseWatch::new(catalog.clone()),
        progress: Arc::default(),
    };
    freezer.work(&environment.context).await.unwrap();
    let collection = catalog.collection(&usual()).await.unwrap().unwrap();
    assert_eq!(collection.versions, []);
    assert_eq!(environment.datasets_with_objects().await, BTreeSet::new());

    assert!(environment.freeze().await, "it is still to be frozen");
    let collection = catalog.collection(&usual()).await.unwrap().unwrap();
    let dataset = collection.versions[0].dataset;
    let members = environment.members(&dataset).await;
    assert_eq!(members.len(), 19);
    assert!(!members.contains_key(&image(7)));
    let expected = BTreeSet::from([dataset.to_string()]);
    assert_eq!(environment.datasets_with_objects().await, expected);
}

/// Images of which one is removed while a dataset is written.
struct Removing {
    catalog: Arc<dyn Catalog>,
    image: ImageId,
    /// Whether its document is deleted, too.
    is_purged: bool,
}

#[async_trait]
impl Images for Removing {
    async fn claim_image(
        &self,
        collection: &CollectionName,
        image: &ImageId,
        candidate: CandidateId,
    ) -> Result<Claim, StorageError> {
        self.catalog.claim_image(collection, image, candidate).await
    }

    async fn put_image(&self, image: &ImageDocument) -> Result<Claim, StorageError> {
        self.catalog.put_image(image).await
    }

    async fn image(
        &self,
        collection: &CollectionName,
        image: &ImageId,
    ) -> Result<Option<ImageDocument>, StorageError> {
        self.catalog.image(collection, image).await
    }

    async fn image_facts(
        &self,
        collection: &CollectionName,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<ImageFacts>, StorageError> {
        self.catalog.image_facts(collection, after, limit).await
    }

    async fn sightings(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Vec<Sighting>>, StorageError> {
        self.catalog.sightings(collection, images).await
    }

    async fn image_bytes(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Bytes>, StorageError> {
        let bytes = self.catalog.image_bytes(collection, images).await;
        let removed = [self.image];
        self.catalog
            .remove_images(collection, &removed, true)
            .await?;
        if !self.is_purged {
            return bytes;
        }
        self.catalog.delete_images(collection, &removed).await?;
        self.catalog.image_bytes(collection, images).await
    }

    async fn image_measurements(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Measurements>, StorageError> {
        self.catalog.image_measurements(collection, images).await
    }

    async fn image_candidates(
        &self,
        collection: &CollectionName,
        images: &[ImageId],
    ) -> Result<Vec<Candidate>, StorageError> {
        self.catalog.image_candidates(collection, images).await
    }
}

#[tokio::test]
async fn an_image_that_comes_after_it_was_purged_leaves_nothing() {
    let environment = Environment::new().await;
    let catalog = &environment.stores.catalog;
    let (job, candidates) = environment.job(2).await;
    environment.claim(1, candidates[1]).await;
    environment.store(job, candidates[0], 0).await;
    let removed = [image(1)];
    catalog
        .remove_images(&usual(), &removed, true)
        .await
        .unwrap();
    let purging = purge_images(&environment.stores, &usual(), &removed).await;
    assert_eq!(purging, Ok(0));

    // The labeler had claimed it before, and the scraper puts its bytes once more.
    let objects = &environment.stores.objects;
    let raw = ObjectKey::raw(&image(1));
    objects.put(&raw, PIXELS).await.unwrap();
    environment.label(job, candidates[1], 1).await;
    let ended = catalog.candidate(candidates[1]).await.unwrap().unwrap();
    assert_eq!(ended.state, CandidateState::Rejected);
    assert_eq!(ended.reason, Some(Reason::Removed));
    assert_eq!(catalog.image(&usual(), &image(1)).await, Ok(None));
    for key in [raw, ObjectKey::normalized(&image(1))] {
        assert_eq!(objects.size(&key).await, Ok(None), "{key}");
    }
}

#[tokio::test]
async fn what_comes_of_a_purged_source_leaves_nothing_unless_another_has_it() {
    let environment = Environment::new().await;
    let catalog = &environment.stores.catalog;
    let (job, candidates) = environment.job(2).await;
    let (other, of_other) = environment.enqueue(&folder("other"), 0..1).await;
    let other = environment.state(other).await;
    for (number, candidate) in (0..2).zip(&candidates) {
        environment.claim(number, *candidate).await;
    }
    environment
        .copy(&other, of_other[0], candidates[0], 0)
        .await;
    catalog.remove_job(job, 7, true).await.unwrap();
    for (number, candidate) in (0..2).zip(&candidates) {
        environment.label(job, *candidate, number).await;
    }
    let kept = catalog.image(&usual(), &image(0)).await.unwrap();
    assert!(kept.is_some(), "the other source has it");
    assert_eq!(catalog.image(&usual(), &image(1)).await, Ok(None));
    let objects = &environment.stores.objects;
    let normalized = ObjectKey::normalized(&image(1));
    assert_eq!(objects.size(&normalized).await, Ok(None));
}

#[tokio::test]
async fn a_second_candidate_for_an_image_is_a_copy_even_at_the_storer() {
    let environment = Environment::new().await;
    let catalog = &environment.stores.catalog;
    let (job, candidates) = environment.job(2).await;
    environment.claim(1, candidates[0]).await;
    let mut labeled = labeled(job, candidates[1], 1);
    labeled.header.candidate = candidates[1];
    let objects = &environment.stores.objects;
    objects.put(&labeled.normalized, PIXELS).await.unwrap();
    let context = Context::default();
    let handled = environment.images.handle(labeled.into(), &context).await;
    handled.unwrap();
    let ended = catalog.candidate(candidates[1]).await.unwrap().unwrap();
    let of = candidates[0];
    assert_eq!(ended.reason, Some(Reason::ExactDuplicate { of }));
    assert_eq!(catalog.image(&usual(), &image(1)).await, Ok(None));
}
