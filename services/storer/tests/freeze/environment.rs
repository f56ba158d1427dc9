//! A storer over a folder, a file and the embedded queue.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use maskline_messages::{
    CandidateId, CollectionName, DatasetId, DatasetReady, ImageId, ImageLabeled, JobId, Label,
    Location, Message, NetworkName, Queue,
};
use maskline_runtime::{Context, Failure, Handler, WorkContext, Worker};
use maskline_storage::{
    Stores,
    lease::LeaseWatch,
    records::{CandidateOutcome, Collection, ImageDocument, Job, NewCandidate, OutcomeKind, Work},
};
use maskline_storer::{
    freeze::Freezer,
    stage::{ImageHandler, JobHandler},
};
use maskline_test_support::{
    embedded::Embedded,
    messages::{self, label},
    records::{self, dead_lettered},
};

pub struct Environment {
    pub stores: Stores,
    pub freezer: Freezer,
    pub images: ImageHandler,
    pub jobs: JobHandler,
    pub context: WorkContext,
    embedded: Embedded,
}

impl Environment {
    pub async fn new() -> Self {
        let embedded = Embedded::open().await;
        let stores = embedded.stores();
        Self {
            freezer: Freezer {
                objects: stores.objects.clone(),
                collections: stores.catalog.clone(),
                jobs: stores.catalog.clone(),
                candidates: stores.catalog.clone(),
                images: stores.catalog.clone(),
                removals: stores.catalog.clone(),
                leases: LeaseWatch::new(stores.catalog.clone()),
                progress: Arc::default(),
            },
            images: ImageHandler {
                objects: stores.objects.clone(),
                candidates: stores.catalog.clone(),
                images: stores.catalog.clone(),
                stores: stores.clone(),
                progress: Arc::default(),
            },
            jobs: JobHandler {
                jobs: stores.catalog.clone(),
                leases: stores.catalog.clone(),
                progress: Arc::default(),
            },
            context: embedded.context("one"),
            stores,
            embedded,
        }
    }

    /// A job with so many candidates, all of them in flight.
    pub async fn job(&self, candidates: u64) -> (JobId, Vec<CandidateId>) {
        let job = Job {
            train: vec![NetworkName::MobilenetV3Small.into()],
            ..records::job()
        };
        self.enqueue(&job, 0..candidates).await
    }

    /// Records a job and its candidates, one for each number. Candidates of the same number have
    /// the same label.
    pub async fn enqueue(&self, job: &Job, numbers: Range<u64>) -> (JobId, Vec<CandidateId>) {
        let in_folder = |number| Location::Path(format!("{number}.jpg").into());
        self.enqueue_at(job, numbers, in_folder).await
    }

    /// Like [`enqueue`](Self::enqueue), for candidates at other locations than in a folder.
    pub async fn enqueue_at(
        &self,
        job: &Job,
        numbers: Range<u64>,
        location: impl Fn(u64) -> Location,
    ) -> (JobId, Vec<CandidateId>) {
        let catalog = &self.stores.catalog;
        records::create_job(&**catalog, job).await;
        let found: Vec<_> = numbers
            .map(|number| NewCandidate {
                label: Some(label_of(number)),
                ..records::candidate(job.id, location(number))
            })
            .collect();
        catalog.add_candidates(&found).await.unwrap();
        (job.id, found.into_iter().map(|one| one.id).collect())
    }

    /// Records that all candidates of the job were found, as the stage does.
    pub async fn expanded(&self, job: JobId) {
        self.stores.catalog.finish_expansion(job).await.unwrap();
        let freezing = Work::Freeze(CollectionName::default());
        let catalog = &self.stores.catalog;
        catalog.offer_work_again(&freezing).await.unwrap();
    }

    pub async fn store(&self, job: JobId, candidate: CandidateId, number: u64) {
        let document = document(labeled(job, candidate, number));
        self.store_document(&document).await;
    }

    pub async fn store_document(&self, document: &ImageDocument) {
        let (candidate, image) = (document.candidate, Some(document.image));
        self.stores.catalog.put_image(document).await.unwrap();
        self.finish(candidate, image, OutcomeKind::Stored).await;
    }

    pub async fn finish(&self, candidate: CandidateId, image: Option<ImageId>, kind: OutcomeKind) {
        let outcome = CandidateOutcome {
            image,
            ..records::outcome(candidate, kind)
        };
        let catalog = &self.stores.catalog;
        catalog.finish_candidate(&outcome).await.unwrap();
    }

    /// Has the freezer look for a job. Returns whether it found one to freeze or announce.
    pub async fn freeze(&self) -> bool {
        self.freezer.work(&self.context).await.unwrap()
    }

    /// The announcement that the trainers get, and how many more wait for them.
    pub async fn announced(&self) -> (DatasetReady, u64) {
        let message = self.embedded.take(Queue::TrainerRequests).await;
        let waiting = self.embedded.waiting(Queue::TrainerRequests).await;
        match message {
            Message::DatasetReady(ready) => (ready, waiting),
            other => panic!("{other:?}"),
        }
    }

    /// A frozen job, one candidate of which was dead-lettered, and the announcement that
    /// the trainers got.
    pub async fn frozen_without_one(&self) -> (DatasetReady, JobId, CandidateId) {
        let (job, candidates) = self.job(20).await;
        for (number, candidate) in candidates.iter().enumerate().skip(1) {
            self.store(job, *candidate, number as u64).await;
        }
        self.finish(candidates[0], None, dead_lettered()).await;
        self.expanded(job).await;
        assert!(self.freeze().await);
        let (ready, _) = self.announced().await;
        (ready, job, candidates[0])
    }

    /// Has the stage handle the labeler's message about an image.
    pub async fn label(&self, job: JobId, candidate: CandidateId, number: u64) {
        self.try_to_label(job, candidate, number).await.unwrap();
    }

    pub async fn try_to_label(
        &self,
        job: JobId,
        candidate: CandidateId,
        number: u64,
    ) -> Result<(), Failure> {
        let labeled = labeled(job, candidate, number);
        let objects = &self.stores.objects;
        objects.put(&labeled.normalized, PIXELS).await.unwrap();
        let context = Context::default();
        let handled = self.images.handle(labeled.into(), &context).await;
        handled.map(drop)
    }

    /// Gives a collection a version whose files are lost.
    pub async fn lose_the_members_of(&self, collection: &Collection) {
        let catalog = &self.stores.catalog;
        let settled = catalog.settled(&collection.name).await.unwrap();
        let id = DatasetId::of(b"lost");
        let dataset = records::dataset(&collection.name, id);
        let version = catalog.add_version(&dataset, &settled.unwrap()).await;
        assert_eq!(version.unwrap().unwrap().dataset, id);
    }

    pub async fn state(&self, job: JobId) -> Job {
        self.stores.catalog.job(job).await.unwrap().unwrap()
    }
}

/// What the stage gets instead of a normalized image. It does not look at the pixels.
pub const PIXELS: Bytes = Bytes::from_static(b"a picture");

/// The label of the image with this number.
fn label_of(number: u64) -> Label {
    label(["a", "b"][number as usize % 2])
}

/// The labeler's message about the image with this number.
pub fn labeled(job: JobId, candidate: CandidateId, number: u64) -> ImageLabeled {
    let location = Location::Path("f".into());
    let mut labeled = messages::labeled(job, location, &number.to_le_bytes());
    labeled.header.candidate = candidate;
    labeled.label = label_of(number);
    labeled.prediction = None;
    // The hashes are so different that no two images are near-duplicates.
    let phash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    labeled.measurements.phash = phash;
    labeled.measurements.phash_mirrored = !phash;
    labeled
}

/// What the stage records of an image.
pub fn document(labeled: ImageLabeled) -> ImageDocument {
    ImageDocument {
        collection: labeled.header.collection,
        job: labeled.header.job,
        image: labeled.header.image,
        candidate: labeled.header.candidate,
        source: labeled.location,
        binary: PIXELS,
        width: labeled.width,
        height: labeled.height,
        label: labeled.label,
        label_origin: labeled.label_origin,
        prediction: labeled.prediction,
        measurements: labeled.measurements,
    }
}
