//! The loop around a [`Worker`].

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use maskline_foundation::Backoff;
use tracing::{info, warn};

use crate::{
    attempt::panicked,
    context::WorkContext,
    metrics::WorkerMetrics,
    stage::{EndsProcess, Worker},
};

/// The waits after failures of one worker in a row, in seconds.
const WAITS: Backoff = Backoff::doubling(1.0, 60.0);

/// Lets the worker look for work at the start, whenever it is notified and every `interval`,
/// until [`WorkContext::stopping`].
///
/// # Errors
/// [`EndsProcess`], if that is the worker's error.
pub async fn keep_working(
    stage: &'static str,
    worker: Arc<dyn Worker>,
    context: WorkContext,
    interval: Duration,
) -> anyhow::Result<()> {
    let metrics = WorkerMetrics::new(stage, worker.name());
    let notify = worker.notify();
    let mut backoff = WAITS;
    while !context.stopping.is_cancelled() {
        // It listens for notifications before it looks for work, so that it misses none.
        let mut notified = pin!(notify.notified());
        notified.as_mut().enable();
        let began = Instant::now();
        let worked = AssertUnwindSafe(worker.work(&context)).catch_unwind().await;
        match worked.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok(true) => {
                metrics.done.increment(1);
                metrics.seconds.record(began.elapsed().as_secs_f64());
                backoff.reset();
            }
            Ok(false) => {
                backoff.reset();
                tokio::select! {
                    () = context.stopping.cancelled() => {}
                    () = notified => {}
                    () = tokio::time::sleep(interval) => {}
                }
            }
            // The work was cut short by the stop and did not fail.
            Err(error) if context.stopping.is_cancelled() => {
                info!(
                    worker = worker.name(),
                    error = format!("{error:#}"),
                    "stopped"
                );
                break;
            }
            Err(error) if error.is::<EndsProcess>() => {
                metrics.failed.increment(1);
                return Err(error);
            }
            Err(error) => {
                let wait = backoff.next_wait();
                let failures = backoff.waits();
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
    Ok(())
}
