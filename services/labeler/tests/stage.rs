//! The stage as the runner sees it, over a catalog in a file.

use maskline_labeler::{NAME, stage::Labeler};
use maskline_messages::{
    CandidateId, Format, ImageHeader, ImageId, ImageLabeled, ImageRejected, ImageValidated, JobId,
    Label, Location, Measurements, Message, ObjectKey, Reason, Source, TrainingSettings,
};
use maskline_runtime::{Context, Handler};
use maskline_storage::{
    StorageArgs, Stores,
    records::{Job, JobState, SplitSettings},
};

struct Place {
    stores: Stores,
    labeler: Labeler,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stores = StorageArgs::default().open(folder.path()).await.unwrap();
        let labeler = Labeler::new(stores.catalog.clone(), stores.catalog.clone(), None);
        Self {
            stores,
            labeler,
            _folder: folder,
        }
    }

    /// A job that knows two classes.
    async fn job(&self) -> JobId {
        let job = Job {
            id: JobId::draw(),
            source: Source::Folder { path: "f".into() },
            labeling: None,
            classes: vec![label("with_mask"), label("without_mask")],
            train: vec![],
            settings: TrainingSettings::default(),
            split: SplitSettings::default(),
            state: JobState::Expanding,
            error: None,
            dataset: None,
            replayed: None,
            traceparent: None,
            created: 1,
        };
        self.stores.catalog.create_job(&job).await.unwrap();
        job.id
    }

    /// What is said of these bytes, found at `path` with this label.
    async fn said(&self, job: JobId, path: &str, class: Option<&str>, bytes: &[u8]) -> Message {
        let message = validated(job, path, class.map(label), bytes);
        let outcome = self.labeler.handle(message, &Context::default()).await;
        let [message] = &outcome.unwrap().messages[..] else {
            panic!("not one message");
        };
        message.clone()
    }
}

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn validated(job: JobId, path: &str, label: Option<Label>, bytes: &[u8]) -> ImageValidated {
    let location = Location::Path(path.into());
    let image = ImageId::of(bytes);
    ImageValidated {
        header: ImageHeader {
            job,
            candidate: CandidateId::of(job, &location),
            image,
            history: vec![],
        },
        location,
        label,
        normalized: ObjectKey::normalized(&image),
        width: 100,
        height: 100,
        measurements: Measurements {
            format: Format::Jpeg,
            width: 100,
            height: 100,
            phash: 1,
            phash_mirrored: 2,
            brightness: 0.5,
            contrast: 0.2,
            sharpness: 100.0,
        },
    }
}

fn labeled(message: Message) -> ImageLabeled {
    match message {
        Message::ImageLabeled(labeled) => labeled,
        other => panic!("{other:?}"),
    }
}

fn rejected(message: Message) -> ImageRejected {
    match message {
        Message::ImageRejected(rejected) => rejected,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_image_gets_the_class_of_its_source() {
    let place = Place::new().await;
    let job = place.job().await;
    let said = labeled(place.said(job, "a", Some("with_mask"), b"a").await);
    assert_eq!(said.label, label("with_mask"));
    assert_eq!(said.prediction, None);
    assert_eq!(said.header.history.last().unwrap().stage, NAME);
}

#[tokio::test]
async fn a_copy_is_rejected_within_its_job_and_names_the_first() {
    let place = Place::new().await;
    let (job, other) = (place.job().await, place.job().await);
    let class = Some("with_mask");
    let first = labeled(place.said(job, "a", class, b"same").await);
    let copy = rejected(place.said(job, "b", Some("without_mask"), b"same").await);
    let of = first.header.candidate;
    assert_eq!(copy.reason, Reason::ExactDuplicate { of });
    assert_eq!(
        (copy.stage.as_str(), copy.image),
        (NAME, Some(ImageId::of(b"same")))
    );
    // The first stays the first, and another job is none of its business.
    labeled(place.said(job, "a", class, b"same").await);
    labeled(place.said(other, "b", class, b"same").await);
}

#[tokio::test]
async fn what_gets_no_class_stands_for_nothing() {
    let place = Place::new().await;
    let job = place.job().await;
    let none = rejected(place.said(job, "a", None, b"same").await);
    assert_eq!(none.reason, Reason::NoLabel);
    let unknown = rejected(place.said(job, "b", Some("hat"), b"same").await);
    assert_eq!(unknown.reason.code(), "unknown_label");
    labeled(place.said(job, "c", Some("with_mask"), b"same").await);
}
