//! Workers are looked after for as long as the service runs.

use std::{collections::VecDeque, sync::Arc, sync::Mutex};

use async_trait::async_trait;
use maskline_messages::{JobId, TrainerRequests};
use maskline_runtime::{Outcome, Service, WorkContext, Worker};
use tokio::sync::{
    Notify,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::environment::{Environment, expanded, published, stub, within};

/// What one call of `work` does.
enum Turn {
    Done,
    Send(JobId),
    Nothing,
    Fail,
    Panic,
    UntilStopped,
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

/// A service with a worker that follows `turns`, its notification, its calls.
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
    let mut environment = Environment::new().await;
    environment.args.worker_interval = 3600.0;
    let (service, notify, mut called) =
        working("notified", [Turn::Done, Turn::Done, Turn::Nothing]);
    let running = environment.start(vec![service]).await;

    calls(&mut called, 3).await;
    notify.notify_one();

    calls(&mut called, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn work_that_a_dead_replica_left_is_found_without_a_notification() {
    let mut environment = Environment::new().await;
    environment.args.worker_interval = 0.01;
    let (service, _, mut called) = working("looking", []);
    let running = environment.start(vec![service]).await;

    calls(&mut called, 3).await;
    running.stop().await;
}

#[tokio::test]
async fn an_error_or_a_panic_does_not_end_the_worker() {
    let environment = Environment::new().await;
    let (service, _, mut called) = working("failing-work", [Turn::Fail, Turn::Panic]);
    let running = environment.start(vec![service]).await;

    calls(&mut called, 3).await;
    running.stop().await;
}

#[tokio::test]
async fn a_worker_sends_messages_and_is_asked_to_stop() {
    let mut environment = Environment::new().await;
    let job = JobId::draw();
    let turns = [Turn::Send(job), Turn::UntilStopped];
    let (service, _, mut called) = working("sending-work", turns);
    let running = environment.start(vec![service]).await;

    assert_eq!(environment.next().await, published("source.expanded"));
    calls(&mut called, 2).await;
    running.stop().await;
    assert!(called.try_recv().is_err(), "no work after the stop");
}
