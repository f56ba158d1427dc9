//! Files that are made to do harm take no more than a picture may, and harm no other picture.
#![cfg(target_os = "linux")]

mod attacks;

use std::time::Duration;

use bytes::Bytes;
use image::{Rgb, RgbImage};
use maskline_messages::Reason;
use maskline_sandbox::{Limits, Place};
use maskline_validator::{
    Answer, FaceArgs, LimitArgs, Normalized, Rejected, SandboxedValidator, validate,
};
use maskline_vision::encode;

fn program() -> Place {
    Place::Program(env!("CARGO_BIN_EXE_maskline-validator").into())
}

fn workers() -> SandboxedValidator {
    let (limits, faces) = (LimitArgs::DEFAULT, FaceArgs::default());
    SandboxedValidator::in_place(&limits, &faces, Answer::WithPicture, program())
}

async fn verdict(workers: &SandboxedValidator, bytes: &[u8]) -> Result<Normalized, Rejected> {
    let verdict = workers.validate(Bytes::copy_from_slice(bytes)).await;
    verdict.expect("a worker can be started")
}

fn good(side: u32) -> Vec<u8> {
    let picture = RgbImage::from_fn(side, side, |x, y| {
        Rgb([if (x / 9 + y / 7) % 2 == 0 { 40 } else { 210 }; 3])
    });
    encode::jpeg(&picture, 90)
}

#[tokio::test]
async fn a_worker_says_what_the_same_function_says_in_this_process() {
    let workers = workers();
    let detector = FaceArgs::default().detector().unwrap();
    let dark = RgbImage::from_pixel(99, 99, Rgb([3; 3]));
    for bytes in [
        good(700),
        encode::jpeg(&dark, 90),
        b"<html>".to_vec(),
        vec![],
    ] {
        let expected = validate(&bytes, &LimitArgs::DEFAULT, detector.as_ref());
        match (verdict(&workers, &bytes).await, expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(found.jpeg, expected.jpeg());
                assert_eq!((found.width, found.height), expected.picture.dimensions());
                assert_eq!(found.measurements, expected.measurements);
            }
            (Err(found), Err(expected)) => assert_eq!(found, expected),
            (found, expected) => panic!("{found:?} in place of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn no_jpeg_is_made_if_only_the_measurements_are_wanted() {
    let (limits, faces) = (LimitArgs::DEFAULT, FaceArgs::default());
    let workers = SandboxedValidator::in_place(&limits, &faces, Answer::Measurements, program());
    let found = verdict(&workers, &good(300)).await.unwrap();
    assert!(found.jpeg.is_empty());
    assert_eq!(found.measurements.width, 300);
}

/// A picture that takes more than there is is rejected with the limit, and the next one is not.
#[tokio::test]
async fn what_takes_too_much_is_rejected_with_the_limit_that_it_reached() {
    const PLENTY: Limits = Limits {
        claimed: 1 << 30,
        unclaimed: 1 << 30,
        processor_time: Duration::from_secs(600),
        time: Duration::from_secs(600),
        answer: 1 << 20,
    };
    let cases = [
        // Its header says that it needs more than may be claimed.
        (
            Limits {
                claimed: 8 << 20,
                unclaimed: 8 << 20,
                ..PLENTY
            },
            "16 MiB of memory",
        ),
        (
            Limits {
                processor_time: Duration::from_millis(60),
                ..PLENTY
            },
            "0.06 s of processor time",
        ),
        (
            Limits {
                time: Duration::from_millis(60),
                ..PLENTY
            },
            "0.06 s",
        ),
    ];
    let large = good(4500);
    for (costs, expected) in cases {
        let (limits, faces) = (LimitArgs::DEFAULT, FaceArgs { no_faces: true });
        let (answer, place) = (Answer::WithPicture, program());
        let workers = SandboxedValidator::with_costs(&limits, &faces, answer, place, costs);
        let rejected = verdict(&workers, &large).await.unwrap_err();
        let limit = expected.to_owned();
        assert_eq!(rejected.reason, Reason::TooCostly { limit });
        assert!(verdict(&workers, &good(200)).await.is_ok(), "{expected}");
    }
}
