//! The stage as the runner calls it, over a catalog in a file.

use maskline_labeler::{NAME, stage::Labeler};
use maskline_messages::{
    CandidateId, Format, ImageHeader, ImageId, ImageLabeled, ImageRejected, ImageValidated, JobId,
    Label, Location, Measurements, Message, ObjectKey, Reason,
};
use maskline_runtime::{Context, Handler};
use maskline_storage::{StorageArgs, Stores, records::Job};
use maskline_test_support::records;

/// The stage and its stores in a temporary folder.
struct Environment {
    stores: Stores,
    labeler: Labeler,
    _folder: tempfile::TempDir,
}

impl Environment {
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
            classes: vec![label("with_mask"), label("without_mask")],
            ..records::job()
        };
        self.stores.catalog.create_job(&job).await.unwrap();
        job.id
    }

    /// The message that the stage sends about these bytes, found at `path` with this label.
    async fn outcome(&self, job: JobId, path: &str, class: Option<&str>, bytes: &[u8]) -> Message {
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
    let environment = Environment::new().await;
    let job = environment.job().await;
    let image = labeled(environment.outcome(job, "a", Some("with_mask"), b"a").await);
    assert_eq!(image.label, label("with_mask"));
    assert_eq!(image.prediction, None);
    assert_eq!(image.header.history.last().unwrap().stage, NAME);
}

#[tokio::test]
async fn a_copy_is_rejected_within_its_job_and_names_the_first() {
    let environment = Environment::new().await;
    let (job, other) = (environment.job().await, environment.job().await);
    let class = Some("with_mask");
    let first = labeled(environment.outcome(job, "a", class, b"same").await);
    let copy = rejected(
        environment
            .outcome(job, "b", Some("without_mask"), b"same")
            .await,
    );
    let of = first.header.candidate;
    assert_eq!(copy.reason, Reason::ExactDuplicate { of });
    assert_eq!(
        (copy.stage.as_str(), copy.image),
        (NAME, Some(ImageId::of(b"same")))
    );
    // The first candidate stays the first. In another job the same bytes are no copy.
    labeled(environment.outcome(job, "a", class, b"same").await);
    labeled(environment.outcome(other, "b", class, b"same").await);
}

#[tokio::test]
async fn a_rejected_candidate_does_not_stand_for_its_bytes() {
    let environment = Environment::new().await;
    let job = environment.job().await;
    let none = rejected(environment.outcome(job, "a", None, b"same").await);
    assert_eq!(none.reason, Reason::NoLabel);
    let unknown = rejected(environment.outcome(job, "b", Some("hat"), b"same").await);
    assert_eq!(unknown.reason.code(), "unknown_label");
    labeled(
        environment
            .outcome(job, "c", Some("with_mask"), b"same")
            .await,
    );
}
