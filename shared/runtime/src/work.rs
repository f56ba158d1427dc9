//! The loop around a [`Worker`].

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use tracing::{info, warn};

use crate::{
    attempt::panicked, context::WorkContext, counters::WorkerMetrics, retry::RetryPolicy,
    stage::Worker,
};

/// The waits after failures of one worker in a row.
const BACK_OFF: RetryPolicy = RetryPolicy {
    base: 1.0,
    factor: 2.0,
    cap: 60.0,
    attempts: u32::MAX,
};

/// Looks for work at start, at every notice and every `interval`, until
/// [`WorkContext::stopping`].
pub async fn keep_working(
    stage: &'static str,
    worker: Arc<dyn Worker>,
    context: WorkContext,
    interval: Duration,
) {
    let metrics = WorkerMetrics::new(stage, worker.name());
    let wake = worker.wake();
    let mut failures = 0;
    while !context.stopping.is_cancelled() {
        // Listening before looking: a notice in between is not missed.
        let mut notice = pin!(wake.notified());
        notice.as_mut().enable();
        let began = Instant::now();
        let worked = AssertUnwindSafe(worker.work(&context)).catch_unwind().await;
        match worked.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok(true) => {
                metrics.done.increment(1);
                metrics.seconds.record(began.elapsed().as_secs_f64());
                failures = 0;
            }
            Ok(false) => {
                failures = 0;
                tokio::select! {
                    () = context.stopping.cancelled() => {}
                    () = notice => {}
                    () = tokio::time::sleep(interval) => {}
                }
            }
            // Cut short by the stop, not failed.
            Err(error) if context.stopping.is_cancelled() => {
                info!(
                    worker = worker.name(),
                    error = format!("{error:#}"),
                    "stopped"
                );
                break;
            }
            Err(error) => {
                let wait = BACK_OFF.delay(failures, None);
                failures += 1;
                metrics.failed.increment(1);
                let error = format!("{error:#}");
                warn!(
                    worker = worker.name(),
                    error,
                    failures,
                    ?wait,
                    "the work failed"
                );
                tokio::select! {
                    () = context.stopping.cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}
