//! A storer over a folder, a file and the embedded queue.

use std::sync::Arc;

use maskline_messages::{
    CandidateId, DatasetReady, Format, ImageHeader, ImageId, ImageLabeled, JobId, Label,
    LabelOrigin, Location, Measurements, Message, NetworkName, ObjectKey, Queue,
};
use maskline_runtime::{Context, Failure, Handler, Sender, WorkContext, Worker, broker};
use maskline_storage::{
    StorageArgs, Stores,
    lease::LeaseWatch,
    records::{CandidateOutcome, ImageDocument, Job, NewCandidate, OutcomeKind, Work},
};
use maskline_storer::{
    freeze::Freezer,
    stage::{ImageHandler, JobHandler},
};
use maskline_test_support::records;
use tokio_util::sync::CancellationToken;

/// The stages and the freezer of a storer, and the stores and the broker that they use.
pub struct Environment {
    pub stores: Stores,
    pub freezer: Freezer,
    pub images: ImageHandler,
    pub jobs: JobHandler,
    broker: Arc<dyn broker::Broker>,
    pub context: WorkContext,
    _folder: tempfile::TempDir,
}

impl Environment {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stores = StorageArgs::default().open(folder.path()).await.unwrap();
        let queue = format!("embedded:{}", folder.path().join("queue.db").display());
        let broker = broker::open(&queue).await.unwrap();
        Self {
            freezer: Freezer {
                objects: stores.objects.clone(),
                jobs: stores.catalog.clone(),
                images: stores.catalog.clone(),
                leases: LeaseWatch::new(stores.catalog.clone()),
                progress: Arc::default(),
            },
            images: ImageHandler {
                objects: stores.objects.clone(),
                candidates: stores.catalog.clone(),
                images: stores.catalog.clone(),
                progress: Arc::default(),
            },
            jobs: JobHandler {
                jobs: stores.catalog.clone(),
                leases: stores.catalog.clone(),
                progress: Arc::default(),
            },
            context: WorkContext {
                instance: "one".to_owned(),
                stopping: CancellationToken::new(),
                sender: Sender::new(broker.clone()),
            },
            broker,
            stores,
            _folder: folder,
        }
    }

    /// Creates a job with this many candidates, all of them in flight.
    pub async fn job(&self, candidates: u64) -> (JobId, Vec<CandidateId>) {
        let job = Job {
            train: vec![NetworkName::MobilenetV3Small],
            ..records::job()
        };
        let catalog = &self.stores.catalog;
        catalog.create_job(&job).await.unwrap();
        let found = (0..candidates).map(|n| {
            let location = Location::Path(format!("{n}.jpg").into());
            NewCandidate {
                id: CandidateId::of(job.id, &location),
                job: job.id,
                location,
                label: None,
            }
        });
        let found: Vec<_> = found.collect();
        catalog.add_candidates(&found).await.unwrap();
        (job.id, found.into_iter().map(|one| one.id).collect())
    }

    /// Records that all candidates of the job were found, as the stage does.
    pub async fn expanded(&self, job: JobId) {
        self.stores.catalog.finish_expansion(job).await.unwrap();
        let freezing = Work::Freeze(job);
        self.stores.catalog.offer_work(&freezing).await.unwrap();
    }

    pub async fn store(&self, job: JobId, candidate: CandidateId, number: u64) {
        let document = image(job, candidate, number);
        let (catalog, image) = (&self.stores.catalog, Some(document.image));
        catalog.put_image(&document).await.unwrap();
        self.finish(candidate, image, OutcomeKind::Stored).await;
    }

    pub async fn finish(&self, candidate: CandidateId, image: Option<ImageId>, kind: OutcomeKind) {
        let outcome = CandidateOutcome {
            candidate,
            image,
            history: vec![],
            trace_id: None,
            kind,
        };
        self.stores
            .catalog
            .finish_candidate(&outcome)
            .await
            .unwrap();
    }

    /// Lets the freezer work once. Returns whether it found a job to freeze or announce.
    pub async fn freeze(&self) -> bool {
        self.freezer.work(&self.context).await.unwrap()
    }

    /// The announcement that the trainers get, and how many more wait for them.
    pub async fn announced(&self) -> (DatasetReady, u64) {
        let mut consumer = self
            .broker
            .consume(Queue::TrainerRequests, 1)
            .await
            .unwrap();
        let delivery = consumer.next().await.unwrap();
        let message = Message::from_json(&delivery.envelope.body).unwrap();
        delivery.settle.ack().await.unwrap();
        consumer.close().await;
        let waiting = self.broker.depths().await.unwrap()[Queue::TrainerRequests.name()].ready;
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

    /// Lets the stage handle the labeler's message about an image.
    pub async fn label(&self, job: JobId, candidate: CandidateId, number: u64) {
        self.try_to_label(job, candidate, number).await.unwrap();
    }

    pub async fn try_to_label(
        &self,
        job: JobId,
        candidate: CandidateId,
        number: u64,
    ) -> Result<(), Failure> {
        let document = image(job, candidate, number);
        let normalized = ObjectKey::normalized(&document.image);
        let objects = &self.stores.objects;
        let pixels = document.binary.clone();
        objects.put(&normalized, pixels).await.unwrap();
        let labeled = ImageLabeled {
            header: ImageHeader {
                job,
                candidate,
                image: document.image,
                history: vec![],
            },
            location: document.source,
            normalized,
            width: document.width,
            height: document.height,
            measurements: document.measurements,
            label: document.label,
            label_origin: document.label_origin,
            prediction: None,
        };
        let context = Context::default();
        let handled = self.images.handle(labeled.into(), &context).await;
        handled.map(drop)
    }

    pub async fn state(&self, job: JobId) -> Job {
        self.stores.catalog.job(job).await.unwrap().unwrap()
    }
}

pub fn dead_lettered() -> OutcomeKind {
    OutcomeKind::Failed {
        stage: "validator".to_owned(),
        error: "boom".to_owned(),
    }
}

fn image(job: JobId, candidate: CandidateId, number: u64) -> ImageDocument {
    let label: Label = ["a", "b"][number as usize % 2].parse().unwrap();
    // The hashes are so different that no two images are near-duplicates.
    let phash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ImageDocument {
        job,
        image: ImageId::of(&number.to_le_bytes()),
        candidate,
        source: Location::Path("f".into()),
        binary: bytes::Bytes::from_static(b"a picture"),
        width: 8,
        height: 8,
        label,
        label_origin: LabelOrigin::Source,
        prediction: None,
        measurements: Measurements {
            format: Format::Jpeg,
            width: 8,
            height: 8,
            phash,
            phash_mirrored: !phash,
            brightness: 0.5,
            contrast: 0.2,
            sharpness: 9.0,
        },
    }
}
