//! What a pool promises to whoever asks it, whatever its workers do.
#![cfg(target_os = "linux")]

mod confinement;
mod crashes;
mod limits;
mod start;

use std::{
    sync::{LazyLock, Mutex},
    time::Duration,
};

use bytes::Bytes;
use maskline_sandbox::{Failed, Limits, Place, Pool, Role, Room, Work};
use tempfile::NamedTempFile;

/// The role of the tester. What it does is in the tester's program.
static ROLE: Role = Role {
    name: "tester",
    start: |_| Ok(Box::new(Nothing)),
};

/// In this process nothing is done.
struct Nothing;

impl Work for Nothing {
    fn answer(&mut self, request: &[u8], room: &mut dyn Room) -> Vec<u8> {
        match request {
            b"panic" => panic!("as the test asked"),
            b"claim" => room.claim(1 << 20),
            _ => {}
        }
        request.to_vec()
    }
}

const LIMITS: Limits = Limits {
    claimed: 64 << 20,
    unclaimed: 32 << 20,
    processor_time: Duration::from_secs(300),
    time: Duration::from_secs(600),
    answer: 1 << 20,
};

fn tester() -> Place {
    Place::Program(env!("CARGO_BIN_EXE_maskline-sandbox-tester").into())
}

/// The log of this process.
static LOG: LazyLock<NamedTempFile> = LazyLock::new(|| {
    let log = NamedTempFile::new().expect("a temporary file");
    let writer = Mutex::new(log.reopen().expect("it can be opened again"));
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(writer)
        .init();
    log
});

fn pool(limits: Limits) -> Pool {
    LazyLock::force(&LOG);
    Pool::new(&ROLE, vec![], limits, tester())
}

async fn ask(pool: &Pool, request: impl Into<String>) -> Result<String, Failed> {
    let answer = pool.ask(Bytes::from(request.into())).await?;
    Ok(String::from_utf8(answer).expect("text"))
}

/// The process id of the worker that answers next.
async fn id(pool: &Pool) -> u32 {
    let id = ask(pool, "id").await.expect("a worker");
    id.parse().expect("a number")
}

#[tokio::test]
async fn a_worker_answers_one_request_after_the_other() {
    let pool = pool(LIMITS);
    pool.warm_up().await.unwrap();
    let first = id(&pool).await;
    assert_eq!(ask(&pool, "echo hello").await.unwrap(), "hello");
    // More than a pipe holds.
    let long = format!("length {}", "x".repeat(5 << 20));
    assert_eq!(ask(&pool, &long).await.unwrap(), long.len().to_string());
    assert_eq!(ask(&pool, "long 1000000").await.unwrap().len(), 1_000_000);
    assert_eq!(id(&pool).await, first);
}

#[tokio::test]
async fn all_workers_answer_at_the_same_time() {
    let pool = pool(LIMITS);
    let asked = (0..3 * pool.workers()).map(|number| {
        let pool = &pool;
        async move { ask(pool, format!("echo {number}")).await.unwrap() }
    });
    let answers = futures::future::join_all(asked).await;
    let expected: Vec<String> = (0..answers.len())
        .map(|number| number.to_string())
        .collect();
    assert_eq!(answers, expected);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_given_up_and_disturbs_no_other() {
    let pool = pool(LIMITS);
    let first = id(&pool).await;
    let dropped = tokio::time::timeout(Duration::from_millis(100), ask(&pool, "spin"));
    assert!(dropped.await.is_err());
    assert_eq!(ask(&pool, "echo next").await.unwrap(), "next");
    assert_ne!(id(&pool).await, first);
    // The worker is killed, and does not go on with the request.
    while std::path::Path::new(&format!("/proc/{first}")).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn without_workers_the_work_is_done_in_this_process() {
    for place in [Place::InProcess, Place::default()] {
        let pool = Pool::new(&ROLE, vec![], LIMITS, place);
        pool.warm_up().await.unwrap();
        assert_eq!(ask(&pool, "claim").await.unwrap(), "claim");
        let crashed = ask(&pool, "panic").await;
        assert_eq!(crashed, Err(Failed::Crashed { signal: None }));
        assert_eq!(ask(&pool, "next").await.unwrap(), "next");
    }
}
