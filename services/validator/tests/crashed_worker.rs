//! A worker that dies. This test is a program of its own, so that all child processes are its.
#![cfg(target_os = "linux")]

use std::{fs, time::Duration};

use bytes::Bytes;
use image::{Rgb, RgbImage};
use maskline_messages::Reason;
use maskline_sandbox::Place;
use maskline_validator::{Answer, FaceArgs, LimitArgs, SandboxedValidator};
use maskline_vision::encode;

/// The process ids of this process's children.
fn children() -> Vec<i32> {
    let this = std::process::id().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |id: &i32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // After the name in parentheses come the state and the parent's id.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        fields.split_whitespace().nth(1) == Some(&this)
    };
    ids.filter(is_child).collect()
}

fn send(process: i32, signal: i32) {
    // SAFETY: it is a child of this process, which nobody has waited for.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0);
}

#[tokio::test]
async fn a_worker_that_dies_rejects_its_picture_with_the_signal_and_no_other() {
    let program = Place::Program(env!("CARGO_BIN_EXE_maskline-validator").into());
    let (limits, faces) = (LimitArgs::DEFAULT, FaceArgs::default());
    let workers = SandboxedValidator::in_place(&limits, &faces, Answer::WithPicture, program);
    workers.warm_up().await.unwrap();
    let picture = RgbImage::from_fn(300, 300, |x, y| {
        Rgb([if (x / 9 + y / 7) % 2 == 0 { 40 } else { 210 }; 3])
    });
    let picture = Bytes::from(encode::jpeg(&picture, 90));
    // No handler of the standard library is there for these.
    for deadly in [libc::SIGFPE, libc::SIGKILL] {
        let [worker] = children()[..] else {
            panic!("{:?} in place of one worker", children());
        };
        // It stands still from before the picture comes, and dies with it.
        send(worker, libc::SIGSTOP);
        let dies = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            send(worker, deadly);
            send(worker, libc::SIGCONT);
        };
        let (verdict, ()) = tokio::join!(workers.validate(picture.clone()), dies);
        let reason = verdict.unwrap().unwrap_err().reason;
        let signal = Some(deadly);
        assert_eq!(reason, Reason::DecoderCrashed { signal });
        assert!(workers.validate(picture.clone()).await.unwrap().is_ok());
    }
}
