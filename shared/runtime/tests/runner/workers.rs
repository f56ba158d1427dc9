//! Workers are called for as long as the service runs.

use std::{collections::VecDeque, sync::Arc, sync::Mutex};

use async_trait::async_trait;
use maskline_messages::{JobId, TrainerRequests};
use maskline_runtime::{EndsProcess, Outcome, Service, WorkContext, Worker};
use tokio::sync::{
    Notify,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::harness::{Harness, expanded, published, stub, within};

/// What one call of `work` does.
enum Turn {
    Done,
    Send(JobId),
    Nothing,
    Fail,
    Panic,
    UntilStopped,
    EndProcess,
}

struct Script {
    turns: Mutex<VecDeque<Turn>>,
    called: UnboundedSender<()>,
    notify: Arc<Notify>,
}

#[async_trait]
impl Worker for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn notify(&self) -> Arc<Notify> {
        self.notify.clone()
    }

    async fn work(&self, context: &WorkContext) -> anyhow::Result<bool> {
        let _ = self.called.send(());
        let turn = self
            .turns
            .lock()
            .expect("no turn panics holding it")
            .pop_front();
        match turn.unwrap_or(Turn::Nothing) {
            Turn::Done => Ok(true),
            Turn::Nothing => Ok(false),
            Turn::Fail => anyhow::bail!("the catalog is gone"),
            Turn::Panic => panic!("boom"),
            Turn::EndProcess => Err(EndsProcess("the GPU is lost".to_owned()).into()),
            Turn::Send(job) => {
                context.send(expanded(job)).await?;
                Ok(true)
            }
            Turn::UntilStopped => {
                context.stopping.cancelled().await;
                Ok(false)
            }
        }
    }
}

/// A service with a worker that follows `turns`, the worker's notification, and its calls.
fn working(
    name: &'static str,
    turns: impl IntoIterator<Item = Turn>,
) -> (Service, Arc<Notify>, UnboundedReceiver<()>) {
    let (called, calls) = unbounded_channel();
    let notify = Arc::new(Notify::new());
    let script = Script {
        turns: Mutex::new(turns.into_iter().collect()),
        called,
        notify: notify.clone(),
    };
    let stage = stub(name, |_: TrainerRequests, _| async { Ok(Outcome::done()) });
    (stage.worker(script), notify, calls)
}

async fn calls(calls: &mut UnboundedReceiver<()>, n: usize) {
    for _ in 0..n {
        within(calls.recv()).await.expect("the worker lives");
    }
}

#[tokio::test]
async fn all_work_is_done_at_the_start_and_again_after_a_notification() {
    let mut harness = Harness::new().await;
    harness.args.worker_interval = 3600.0;
    let (service, notify, mut called) =
        working("noticing", [Turn::Done, Turn::Done, Turn::Nothing]);
    let running = harness.start(vec![service]).await;

    calls(&mut called, 3).await;
    notify.notify_one();

    calls(&mut called, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn work_of_a_dead_replica_is_found_without_a_notification() {
    let mut harness = Harness::new().await;
    harness.args.worker_interval = 0.01;
    let (service, _, mut called) = working("looking", []);
    let running = harness.start(vec![service]).await;

    calls(&mut called, 3).await;
    running.stop().await;
}

#[tokio::test]
async fn an_error_or_a_panic_does_not_end_the_worker() {
    let harness = Harness::new().await;
    let (service, _, mut called) = working("failing-work", [Turn::Fail, Turn::Panic]);
    let running = harness.start(vec![service]).await;

    calls(&mut called, 3).await;
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_can_not_go_on_ends_the_process_with_its_error() {
    let harness = Harness::new().await;
    let (service, _, mut called) = working("lost", [Turn::Done, Turn::EndProcess]);
    let (other, _, _other_called) = working("beside-lost", [Turn::UntilStopped]);
    let running = harness.start(vec![service, other]).await;

    calls(&mut called, 2).await;
    let ended = within(running.task).await.expect("it does not panic");
    assert_eq!(ended.unwrap_err().to_string(), "the GPU is lost");
}

#[tokio::test]
async fn a_worker_sends_messages_and_ends_when_the_service_stops() {
    let mut harness = Harness::new().await;
    let job = JobId::draw();
    let turns = [Turn::Send(job), Turn::UntilStopped];
    let (service, _, mut called) = working("sending-work", turns);
    let running = harness.start(vec![service]).await;

    assert_eq!(harness.next().await, published("source.expanded"));
    calls(&mut called, 2).await;
    running.stop().await;
    assert!(called.try_recv().is_err(), "no work after the stop");
}
