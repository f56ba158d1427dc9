//! What `/metrics` counts. One recorder serves all stages of the process.

use std::{sync::OnceLock, time::Duration};

use maskline_messages::{Message, Queue};
use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge};
use metrics::{describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::broker::WhyKind;

const HANDLED: &str = "maskline_messages_handled_total";
const REJECTED: &str = "maskline_images_rejected_total";
const RETRIED: &str = "maskline_messages_retried_total";
const RELEASED: &str = "maskline_messages_released_total";
const DEAD: &str = "maskline_messages_dead_lettered_total";
const IN_FLIGHT: &str = "maskline_messages_in_flight";
const SECONDS: &str = "maskline_handle_seconds";
const WORKED: &str = "maskline_work_done_total";
const WORK_FAILED: &str = "maskline_work_failed_total";

/// Upper bounds in seconds: a validated image takes milliseconds, a slow download minutes.
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0,
];

/// The process's metrics as Prometheus text.
pub fn render() -> String {
    recorder().render()
}

/// How often [`upkeep`] is due: samples wait in memory until then.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Folds the samples taken since the last time into the histograms, so that
/// they take bounded memory when nobody reads the metrics.
pub fn upkeep() {
    recorder().run_upkeep();
}

fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(SECONDS.to_owned()), &BUCKETS)
            .expect("there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed: /metrics stays empty");
        }
        describe();
        handle
    })
}

fn describe() {
    describe_counter!(HANDLED, "Messages handled and acknowledged");
    describe_counter!(REJECTED, "Images found to be no good, by reason");
    describe_counter!(RETRIED, "Attempts that ended in a retry");
    describe_counter!(
        RELEASED,
        "Messages given back because a store or the way out was away, or at a stop"
    );
    describe_counter!(DEAD, "Messages given up, by kind");
    describe_gauge!(IN_FLIGHT, "Messages being handled now");
    describe_histogram!(SECONDS, "Seconds that handling a message took");
    describe_counter!(WORKED, "Pieces of leased work done");
    describe_counter!(WORK_FAILED, "Pieces of leased work that failed");
}

/// The metrics of one stage's queue.
#[derive(Clone)]
pub struct QueueMetrics {
    stage: &'static str,
    queue: Queue,
    pub handled: Counter,
    pub retried: Counter,
    pub released: Counter,
    pub in_flight: Gauge,
    pub seconds: Histogram,
}

impl QueueMetrics {
    /// All start at zero, so that a rate can be taken from the first message on.
    pub fn new(stage: &'static str, queue: Queue) -> Self {
        recorder();
        let labels = [("stage", stage), ("queue", queue.name())];
        let metrics = Self {
            stage,
            queue,
            handled: counter!(HANDLED, &labels),
            retried: counter!(RETRIED, &labels),
            released: counter!(RELEASED, &labels),
            in_flight: gauge!(IN_FLIGHT, &labels),
            seconds: histogram!(SECONDS, &labels),
        };
        for kind in [WhyKind::Poison, WhyKind::RetriesExhausted] {
            metrics.dead(kind).increment(0);
        }
        for counter in [&metrics.handled, &metrics.retried, &metrics.released] {
            counter.increment(0);
        }
        metrics.in_flight.increment(0);
        metrics
    }

    pub fn dead(&self, kind: WhyKind) -> Counter {
        let (stage, queue) = (self.stage, self.queue.name());
        counter!(DEAD, "stage" => stage, "queue" => queue, "kind" => kind_name(kind))
    }

    /// Counts those of a handled message's follow-ups that reject an image.
    pub fn rejected<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) {
        let (stage, queue) = (self.stage, self.queue.name());
        for message in messages {
            if let Message::ImageRejected(rejected) = message {
                let reason = rejected.reason.code();
                counter!(REJECTED, "stage" => stage, "queue" => queue, "reason" => reason)
                    .increment(1);
            }
        }
    }
}

/// The metrics of one worker.
pub struct WorkerMetrics {
    pub done: Counter,
    pub failed: Counter,
}

impl WorkerMetrics {
    pub fn new(stage: &'static str, worker: &'static str) -> Self {
        recorder();
        let metrics = Self {
            done: counter!(WORKED, "stage" => stage, "worker" => worker),
            failed: counter!(WORK_FAILED, "stage" => stage, "worker" => worker),
        };
        metrics.done.increment(0);
        metrics.failed.increment(0);
        metrics
    }
}

/// As in metrics, spans and headers.
pub fn kind_name(kind: WhyKind) -> &'static str {
    match kind {
        WhyKind::RetriesExhausted => "retries_exhausted",
        WhyKind::Poison => "poison",
    }
}
