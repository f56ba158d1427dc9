//! The stage as the runner calls it, over a folder of objects and a SQLite catalog.

use bytes::Bytes;
use image::{Rgb, RgbImage};
use maskline_messages::{ImageRejected, ImageValidated, JobId, Location, Message};
use maskline_runtime::{Context, Failure, Handler};
use maskline_sandbox::Place;
use maskline_test_support::{embedded::Embedded, messages};
use maskline_validator::{Answer, FaceArgs, LimitArgs, NAME, SandboxedValidator, stage::Validator};
use maskline_vision::encode;

/// The stage and its stores.
struct TestStage {
    validator: Validator,
    environment: Embedded,
}

impl TestStage {
    async fn new() -> Self {
        let program = env!("CARGO_BIN_EXE_maskline-validator");
        Self::with(Place::Program(program.into()), FaceArgs::default()).await
    }

    async fn with(place: Place, faces: FaceArgs) -> Self {
        let environment = Embedded::open().await;
        let objects = environment.objects.clone();
        let (limits, answer) = (LimitArgs::DEFAULT, Answer::WithPicture);
        let workers = SandboxedValidator::in_place(&limits, &faces, answer, place);
        Self {
            validator: Validator::new(objects, workers),
            environment,
        }
    }

    /// The message that the stage sends about these bytes, found at `path`.
    async fn verdict(&self, job: JobId, path: &str, bytes: &[u8]) -> Message {
        let fetched = messages::fetched(job, Location::Path(path.into()), bytes);
        let raw = Bytes::copy_from_slice(bytes);
        let objects = &self.environment.objects;
        objects.put(&fetched.object, raw).await.unwrap();
        let outcome = self.validator.handle(fetched, &Context::default()).await;
        let [message] = &outcome.unwrap().messages[..] else {
            panic!("not one message");
        };
        message.clone()
    }
}

fn picture(width: u32, height: u32) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| {
        Rgb([if (x / 9 + y / 7) % 2 == 0 { 40 } else { 210 }; 3])
    });
    encode::jpeg(&picture, 90)
}

fn validated(message: Message) -> ImageValidated {
    match message {
        Message::ImageValidated(validated) => validated,
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
async fn a_good_picture_is_normalized_and_measured() {
    let stage = TestStage::new().await;
    let bytes = picture(600, 400);
    let message = validated(stage.verdict(JobId::draw(), "a.jpg", &bytes).await);
    assert_eq!((message.width, message.height), (256, 171));
    let measured = &message.measurements;
    assert_eq!((measured.width, measured.height), (600, 400));
    assert_eq!(message.header.history.last().unwrap().stage, NAME);
    let normalized = stage
        .environment
        .objects
        .get(&message.normalized)
        .await
        .unwrap();
    let normalized = image::load_from_memory(&normalized).unwrap();
    assert_eq!((normalized.width(), normalized.height()), (256, 171));
}

#[tokio::test]
async fn a_picture_without_a_face_is_accepted_and_so_is_one_in_which_nobody_looked() {
    let bytes = picture(600, 400);
    for (no_faces, expected) in [(false, Some(vec![])), (true, None)] {
        let stage = TestStage::with(Place::InProcess, FaceArgs { no_faces }).await;
        let message = validated(stage.verdict(JobId::draw(), "a.jpg", &bytes).await);
        assert_eq!(message.measurements.faces, expected);
    }
}

#[tokio::test]
async fn handling_a_message_twice_sends_and_stores_the_same() {
    let stage = TestStage::new().await;
    let (job, bytes) = (JobId::draw(), picture(300, 200));
    let first = validated(stage.verdict(job, "a.jpg", &bytes).await);
    let put = stage
        .environment
        .objects
        .get(&first.normalized)
        .await
        .unwrap();
    let second = validated(stage.verdict(job, "a.jpg", &bytes).await);
    assert_eq!(second.measurements, first.measurements);
    assert_eq!(second.normalized, first.normalized);
    assert_eq!(
        stage
            .environment
            .objects
            .get(&first.normalized)
            .await
            .unwrap(),
        put
    );
}

#[tokio::test]
async fn an_unfit_file_is_rejected_with_its_reason() {
    let stage = TestStage::new().await;
    let job = JobId::draw();
    for path in ["a.jpg", "b.jpg"] {
        let message = rejected(stage.verdict(job, path, b"<html>").await);
        assert_eq!(message.reason.code(), "not_an_image");
        assert_eq!(message.history.last().unwrap().stage, NAME);
        let tiny = rejected(stage.verdict(job, path, &picture(20, 20)).await);
        assert_eq!(tiny.reason.code(), "too_small");
    }
}

#[tokio::test]
async fn many_large_pictures_at_once_wait_for_memory_and_are_all_validated() {
    let stage = TestStage::new().await;
    let job = JobId::draw();
    let files: Vec<_> = (0..12).map(|n| picture(1500 + n, 1500)).collect();
    let verdicts = files.iter().enumerate().map(|(n, bytes)| {
        let stage = &stage;
        async move { stage.verdict(job, &format!("{n}.jpg"), bytes).await }
    });
    for message in futures::future::join_all(verdicts).await {
        assert_eq!(validated(message).width, 256);
    }
}

#[tokio::test]
async fn without_a_worker_the_stage_waits_for_one_and_blames_no_image() {
    let stage = TestStage::with(Place::Program("/nowhere".into()), FaceArgs::default()).await;
    let bytes = picture(300, 200);
    let fetched = messages::fetched(JobId::draw(), Location::Path("a.jpg".into()), &bytes);
    let objects = &stage.environment.objects;
    objects.put(&fetched.object, bytes.into()).await.unwrap();
    let failure = stage.validator.handle(fetched, &Context::default()).await;
    let failure = failure.unwrap_err();
    assert!(matches!(failure, Failure::Outage(_)), "{failure}");
    assert!(
        failure.to_string().contains("no worker can be started"),
        "{failure}"
    );
}

#[tokio::test]
async fn an_object_that_is_not_there_yet_is_retried() {
    let stage = TestStage::new().await;
    let lost = messages::fetched(JobId::draw(), Location::Path("a.jpg".into()), b"gone");
    let failure = stage
        .validator
        .handle(lost, &Context::default())
        .await
        .unwrap_err();
    assert!(matches!(failure, Failure::Retry { .. }), "{failure}");
    assert!(failure.to_string().contains("does not exist"), "{failure}");
}
