//! The stage as the runner sees it, over a catalog in a file.

use maskline_labeler::{NAME, stage::Labeler};
use maskline_messages::{
    CollectionName, ImageId, ImageLabeled, ImageRejected, ImageValidated, JobId, Location, Message,
    Reason,
};
use maskline_runtime::{Context, Handler};
use maskline_storage::records::{Collection, Job};
use maskline_test_support::{
    embedded::Embedded,
    messages::{self, label},
    records,
};

/// The stage and its catalog.
struct TestStage {
    labeler: Labeler,
    environment: Embedded,
}

impl TestStage {
    async fn new() -> Self {
        let environment = Embedded::open().await;
        let catalog = &environment.catalog;
        Self {
            labeler: Labeler::new(catalog.clone(), catalog.clone(), None),
            environment,
        }
    }

    /// A job in the usual collection, which knows two classes.
    async fn job(&self) -> JobId {
        self.job_in(&CollectionName::default()).await
    }

    /// A job in a collection that knows two classes.
    async fn job_in(&self, name: &CollectionName) -> JobId {
        let catalog = &self.environment.catalog;
        let job = Job {
            collection: name.clone(),
            ..records::job()
        };
        let collection = Collection {
            name: name.clone(),
            classes: vec![label("with_mask"), label("without_mask")],
            ..records::collection()
        };
        catalog.create_collection(&collection).await.unwrap();
        catalog.create_job(&job).await.unwrap();
        job.id
    }

    /// The message that the stage sends about these bytes, found at `path` with this label.
    async fn handle(&self, job: JobId, path: &str, class: Option<&str>, bytes: &[u8]) -> Message {
        let recorded = self.environment.catalog.job(job).await.unwrap();
        let mut validated = ImageValidated {
            label: class.map(label),
            ..messages::validated(job, Location::Path(path.into()), bytes)
        };
        validated.header.collection = recorded.unwrap().collection;
        let outcome = self.labeler.handle(validated, &Context::default()).await;
        let [message] = &outcome.unwrap().messages[..] else {
            panic!("not one message");
        };
        message.clone()
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
    let stage = TestStage::new().await;
    let job = stage.job().await;
    let message = labeled(stage.handle(job, "a", Some("with_mask"), b"a").await);
    assert_eq!(message.label, label("with_mask"));
    assert_eq!(message.prediction, None);
    assert_eq!(message.header.history.last().unwrap().stage, NAME);
}

#[tokio::test]
async fn a_copy_is_rejected_within_its_collection_and_names_the_first() {
    let stage = TestStage::new().await;
    let (job, other_job) = (stage.job().await, stage.job().await);
    let elsewhere = stage.job_in(&"elsewhere".parse().unwrap()).await;
    let class = Some("with_mask");
    let first = labeled(stage.handle(job, "a", class, b"same").await);
    let copy = rejected(stage.handle(job, "b", Some("without_mask"), b"same").await);
    let of = first.header.candidate;
    assert_eq!(copy.reason, Reason::ExactDuplicate { of });
    assert_eq!(
        (copy.stage.as_str(), copy.image),
        (NAME, Some(ImageId::of(b"same")))
    );
    let copy = rejected(stage.handle(other_job, "b", class, b"same").await);
    assert_eq!(copy.reason, Reason::ExactDuplicate { of });
    // The first stays the first, and another collection is none of its business.
    labeled(stage.handle(job, "a", class, b"same").await);
    labeled(stage.handle(elsewhere, "b", class, b"same").await);
}

#[tokio::test]
async fn what_gets_no_class_stands_for_nothing() {
    let stage = TestStage::new().await;
    let job = stage.job().await;
    let none = rejected(stage.handle(job, "a", None, b"same").await);
    assert_eq!(none.reason, Reason::NoLabel);
    let unknown = rejected(stage.handle(job, "b", Some("hat"), b"same").await);
    assert_eq!(unknown.reason.code(), "unknown_label");
    labeled(stage.handle(job, "c", Some("with_mask"), b"same").await);
}
