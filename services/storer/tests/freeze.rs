//! The freezer as the runner sees it, over a folder, a file and the embedded queue.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use maskline_messages::{
    CandidateId, DatasetReady, Format, ImageFailed, ImageHeader, ImageId, ImageLabeled, JobFailed,
    JobId, Label, LabelOrigin, Location, Measurements, Message, NetworkName, ObjectKey, Queue,
    Source, TrainingSettings,
};
use maskline_runtime::{Context, Failure, Handler, Sender, WorkContext, Worker, broker};
use maskline_storage::{
    ObjectStore, StorageArgs, StorageError, Stores, Upload,
    lease::LeaseWatch,
    records::{
        CandidateOutcome, ImageDocument, Job, JobState, NewCandidate, OutcomeKind, SplitSettings,
        Work,
    },
};
use maskline_storer::{
    freeze::Freezer,
    stage::{ImageHandler, JobHandler},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

struct Place {
    stores: Stores,
    freezer: Freezer,
    images: ImageHandler,
    jobs: JobHandler,
    broker: Arc<dyn broker::Broker>,
    context: WorkContext,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
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

    /// A job with so many candidates, in flight.
    async fn job(&self, candidates: u64) -> (JobId, Vec<CandidateId>) {
        let job = Job {
            id: JobId::draw(),
            source: Source::Folder { path: "f".into() },
            labeling: None,
            classes: vec![],
            train: vec![NetworkName::MobilenetV3Small],
            settings: TrainingSettings::default(),
            split: SplitSettings::default(),
            state: JobState::Expanding,
            error: None,
            dataset: None,
            replayed: None,
            traceparent: None,
            created: 1,
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

    /// Every candidate of the job is recorded.
    async fn expanded(&self, job: JobId) {
        self.stores.catalog.finish_expansion(job).await.unwrap();
        let freezing = Work::Freeze(job);
        self.stores.catalog.offer_work(&freezing).await.unwrap();
    }

    async fn store(&self, job: JobId, candidate: CandidateId, number: u64) {
        let document = image(job, candidate, number);
        let (catalog, image) = (&self.stores.catalog, Some(document.image));
        catalog.put_image(&document).await.unwrap();
        self.end(candidate, image, OutcomeKind::Stored).await;
    }

    async fn end(&self, candidate: CandidateId, image: Option<ImageId>, kind: OutcomeKind) {
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

    /// What the trainers were told, and how many messages wait for them then.
    async fn told(&self) -> (DatasetReady, u64) {
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

    /// A frozen job with one candidate that was given up, and what the trainers were
    /// told of it.
    async fn frozen_without_one(&self) -> (DatasetReady, JobId, CandidateId) {
        let (job, candidates) = self.job(20).await;
        for (number, candidate) in candidates.iter().enumerate().skip(1) {
            self.store(job, *candidate, number as u64).await;
        }
        self.end(candidates[0], None, gave_up()).await;
        self.expanded(job).await;
        assert!(self.freezer.work(&self.context).await.unwrap());
        let (ready, _) = self.told().await;
        (ready, job, candidates[0])
    }

    /// The labeler's message about an image, and the stage that takes it.
    async fn label(&self, job: JobId, candidate: CandidateId, number: u64) {
        self.try_to_label(job, candidate, number).await.unwrap();
    }

    async fn try_to_label(
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

    async fn state(&self, job: JobId) -> Job {
        self.stores.catalog.job(job).await.unwrap().unwrap()
    }
}

fn gave_up() -> OutcomeKind {
    OutcomeKind::Failed {
        stage: "validator".to_owned(),
        error: "boom".to_owned(),
    }
}

fn image(job: JobId, candidate: CandidateId, number: u64) -> ImageDocument {
    let label: Label = ["a", "b"][number as usize % 2].parse().unwrap();
    // Far from each other in every way that the hash knows.
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

#[tokio::test]
async fn a_job_is_frozen_when_nothing_is_in_flight_and_not_before() {
    let place = Place::new().await;
    let (job, candidates) = place.job(20).await;
    place.expanded(job).await;
    for (number, candidate) in candidates.iter().skip(1).enumerate() {
        place.store(job, *candidate, number as u64 + 1).await;
    }
    assert!(!place.freezer.work(&place.context).await.unwrap());
    assert_eq!(place.state(job).await.state, JobState::Running);

    place.store(job, candidates[0], 0).await;
    assert!(place.freezer.work(&place.context).await.unwrap());
    let frozen = place.state(job).await;
    assert_eq!(frozen.state, JobState::Frozen);
    let (ready, waiting) = place.told().await;
    assert_eq!(
        (Some(ready.dataset), ready.networks),
        (frozen.dataset, frozen.train)
    );
    assert_eq!(waiting, 0);
    assert!(!place.freezer.work(&place.context).await.unwrap(), "once");
}

#[tokio::test]
async fn what_is_frozen_is_announced_again_as_it_is() {
    let place = Place::new().await;
    let (first, _, _) = place.frozen_without_one().await;

    // A storer died between the freeze and its announcement.
    let (twin, _) = place.job(0).await;
    let dataset = place
        .stores
        .catalog
        .dataset(&first.dataset)
        .await
        .unwrap()
        .unwrap();
    place.expanded(twin).await;
    let settled = place.stores.catalog.settled(twin).await.unwrap();
    let settled = settled.expect("nothing is in flight");
    let freezing = place.stores.catalog.freeze(twin, &dataset, settled);
    freezing.await.unwrap();
    assert!(place.freezer.work(&place.context).await.unwrap());
    let (again, _) = place.told().await;
    assert_eq!((again.job, again.dataset), (twin, first.dataset));
    assert_eq!(place.stores.catalog.datasets(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_given_up_and_is_replayed_makes_a_new_version_of_the_dataset() {
    let place = Place::new().await;
    let (first, job, candidate) = place.frozen_without_one().await;
    let catalog = &place.stores.catalog;
    let reopened = [candidate];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    assert!(!place.freezer.work(&place.context).await.unwrap());
    assert_eq!(place.state(job).await.state, JobState::Running);

    place.label(job, candidate, 0).await;
    assert!(place.freezer.work(&place.context).await.unwrap());
    let frozen = place.state(job).await;
    let (second, waiting) = place.told().await;
    assert_ne!(second.dataset, first.dataset);
    assert_eq!(
        (frozen.state, frozen.dataset),
        (JobState::Frozen, Some(second.dataset))
    );
    assert_eq!((second.networks, waiting), (frozen.train, 0));
    assert!(!place.freezer.work(&place.context).await.unwrap(), "once");
    assert_eq!(catalog.datasets(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_was_given_up_and_comes_on_by_itself_makes_a_new_version_too() {
    let place = Place::new().await;
    let (first, job, candidate) = place.frozen_without_one().await;
    // Nobody replayed anything: another delivery of the same message did better.
    place.label(job, candidate, 0).await;
    place.label(job, candidate, 0).await;
    assert!(place.freezer.work(&place.context).await.unwrap());
    let (second, waiting) = place.told().await;
    assert_ne!(second.dataset, first.dataset);
    assert_eq!(waiting, 0);
    let books = place.stores.catalog.counts(job).await.unwrap();
    assert_eq!((books.stored, books.failed, books.in_flight), (20, 0, 0));
}

#[tokio::test]
async fn what_can_not_be_opened_again_fails_and_is_not_tried_for_ever() {
    let place = Place::new().await;
    let (_, job, given_up) = place.frozen_without_one().await;
    let (other, _) = place.job(1).await;
    // Not a candidate of the job that the message names.
    let failure = place.try_to_label(other, given_up, 0).await.unwrap_err();
    assert!(matches!(failure, Failure::Retry { .. }), "{failure}");
    let books = place.stores.catalog.counts(job).await.unwrap();
    assert_eq!((books.failed, books.in_flight), (1, 0));
}

#[tokio::test]
async fn what_fails_once_more_leaves_the_dataset_as_it_is() {
    let place = Place::new().await;
    let (first, job, candidate) = place.frozen_without_one().await;
    let catalog = &place.stores.catalog;
    let reopened = [candidate];
    catalog.reopen_candidates(job, &reopened).await.unwrap();
    place.end(candidate, None, gave_up()).await;
    assert!(place.freezer.work(&place.context).await.unwrap());
    assert_eq!(place.state(job).await.state, JobState::Frozen);
    let (again, _) = place.told().await;
    assert_eq!(again.dataset, first.dataset);
    assert_eq!(catalog.datasets(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn who_is_asked_to_stop_in_the_middle_gives_the_job_back_and_another_freezes_it() {
    let place = Place::new().await;
    let (job, candidates) = place.job(20).await;
    for (number, candidate) in candidates.iter().enumerate() {
        place.store(job, *candidate, number as u64).await;
    }
    place.expanded(job).await;
    let stuck = Arc::new(Stuck::default());
    let stopped = Freezer {
        objects: stuck.clone(),
        jobs: place.stores.catalog.clone(),
        images: place.stores.catalog.clone(),
        leases: LeaseWatch::new(place.stores.catalog.clone()),
        progress: Arc::default(),
    };
    let context = WorkContext {
        stopping: CancellationToken::new(),
        ..place.context.clone()
    };
    let stop = async {
        stuck.writing.notified().await;
        context.stopping.cancel();
    };
    let (worked, ()) = tokio::join!(stopped.work(&context), stop);
    worked.unwrap();
    assert_eq!(place.state(job).await.state, JobState::Running);
    let open = place.stores.catalog.open_work("freeze").await.unwrap();
    assert_eq!(open[0].owner, None, "it can be taken at once");

    assert!(place.freezer.work(&place.context).await.unwrap());
    assert_eq!(place.state(job).await.state, JobState::Frozen);
}

/// An object store in which no write comes to its end.
#[derive(Default)]
struct Stuck {
    writing: Notify,
}

#[async_trait]
impl ObjectStore for Stuck {
    async fn put(&self, _: &ObjectKey, _: Bytes) -> Result<(), StorageError> {
        self.writing.notify_one();
        std::future::pending().await
    }

    async fn upload(&self, _: &ObjectKey) -> Result<Box<dyn Upload + '_>, StorageError> {
        self.writing.notify_one();
        std::future::pending().await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StorageError> {
        Err(StorageError::NotFound(key.to_string()))
    }

    async fn size(&self, _: &ObjectKey) -> Result<Option<u64>, StorageError> {
        Ok(None)
    }

    async fn delete(&self, _: &ObjectKey) -> Result<(), StorageError> {
        Ok(())
    }

    async fn list(
        &self,
        _: &str,
        _: Option<&ObjectKey>,
        _: usize,
    ) -> Result<Vec<ObjectKey>, StorageError> {
        Ok(vec![])
    }

    async fn ping(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn locate(&self, key: &ObjectKey) -> String {
        key.to_string()
    }
}

#[tokio::test]
async fn one_jobs_trouble_does_not_hold_up_another() {
    let place = Place::new().await;
    let (job, candidates) = place.job(4).await;
    // Sorts before every job that is drawn now.
    let unknown: JobId = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    place
        .stores
        .catalog
        .offer_work(&Work::Freeze(unknown))
        .await
        .unwrap();
    for (number, candidate) in candidates.iter().enumerate() {
        place.store(job, *candidate, number as u64).await;
    }
    place.expanded(job).await;
    assert!(place.freezer.work(&place.context).await.unwrap());
    assert_eq!(place.state(job).await.state, JobState::Frozen);
    let error = place.freezer.work(&place.context).await.unwrap_err();
    assert!(
        error.to_string().contains("not in the catalog"),
        "{error:#}"
    );
}

#[tokio::test]
async fn a_job_of_which_nothing_is_left_fails_and_says_where_to_look() {
    let place = Place::new().await;
    let (job, _) = place.job(0).await;
    place.expanded(job).await;
    assert!(place.freezer.work(&place.context).await.unwrap());
    let failed = place.state(job).await;
    assert_eq!(failed.state, JobState::Failed);
    assert!(failed.error.unwrap().contains("maskline rejects"));
}

#[tokio::test]
async fn a_step_that_fails_late_does_not_fail_an_expanded_job() {
    let place = Place::new().await;
    let context = Context::default();
    let failed = |job| JobFailed {
        job,
        stage: "scraper".to_owned(),
        error: "the list was changed".to_owned(),
    };
    let (expanded, _) = place.job(1).await;
    place.expanded(expanded).await;
    let (expanding, candidates) = place.job(1).await;
    for job in [expanded, expanding] {
        place
            .jobs
            .handle(failed(job).into(), &context)
            .await
            .unwrap();
    }
    assert_eq!(place.state(expanded).await.state, JobState::Running);
    let job = place.state(expanding).await;
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.error.as_deref(), Some("scraper: the list was changed"));

    let given_up = ImageFailed {
        job: expanding,
        candidate: candidates[0],
        stage: "validator".to_owned(),
        error: "boom".to_owned(),
        attempts: 3,
    };
    place
        .images
        .handle(given_up.into(), &context)
        .await
        .unwrap();
    let books = place.stores.catalog.counts(expanding).await.unwrap();
    assert_eq!((books.found, books.failed, books.in_flight), (1, 1, 0));
}
