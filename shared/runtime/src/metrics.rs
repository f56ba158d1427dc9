//! The metrics of `/metrics`. One recorder serves all stages of the process.
//!
//! Those of the process itself (memory, processor, files) come from `metrics-process`, under
//! Prometheus' own names.

mod lengths;

use std::{sync::OnceLock, time::Duration};

use maskline_messages::{Message, Queue};
use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge};
use metrics::{describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::broker::{DELAYED, DeadLetterKind};

pub use lengths::QueueLengths;

const HANDLED: &str = "maskline_messages_handled_total";
const REJECTED: &str = "maskline_images_rejected_total";
const RETRIED: &str = "maskline_messages_retried_total";
const POSTPONED: &str = "maskline_messages_postponed_total";
const RELEASED: &str = "maskline_messages_released_total";
const DEAD: &str = "maskline_messages_dead_lettered_total";
const IN_FLIGHT: &str = "maskline_messages_in_flight";
const CONCURRENCY: &str = "maskline_concurrency";
const SECONDS: &str = "maskline_handle_seconds";
const WAITED: &str = "maskline_wait_seconds";
const WORKED: &str = "maskline_work_done_total";
const WORK_FAILED: &str = "maskline_work_failed_total";
const WORK_SECONDS: &str = "maskline_work_seconds";
const SPANS_ENDED: &str = "maskline_spans_ended_total";
const SPANS_EXPORTED: &str = "maskline_spans_exported_total";
const SPANS_DROPPED: &str = "maskline_spans_dropped_total";
const BUILD: &str = "maskline_build_info";

/// Upper bounds in seconds of [`SECONDS`]: a validated image takes milliseconds, a
/// slow download minutes.
const HANDLING: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0,
];

/// Upper bounds in seconds of [`WAITED`]: an idle stage takes a message at once, a full queue
/// holds it for hours.
const WAITING: [f64; 12] = [
    0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0,
];

/// Upper bounds in seconds of [`WORK_SECONDS`]: a small dataset is frozen in a second, a
/// network may train for a day.
const WORKING: [f64; 10] = [
    0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 28_800.0, 86_400.0,
];

/// The process's metrics as Prometheus text.
pub fn render() -> String {
    let recorder = recorder();
    Collector::default().collect();
    recorder.render()
}

/// How often [`upkeep`] is due. Samples wait in memory until then.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Folds the samples taken since the last time into the histograms, so that
/// they take bounded memory when nobody reads the metrics.
pub fn upkeep() {
    recorder().run_upkeep();
}

fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let buckets: [(_, &[f64]); 3] = [
            (SECONDS, &HANDLING),
            (WAITED, &WAITING),
            (WORK_SECONDS, &WORKING),
        ];
        let with = |builder: PrometheusBuilder, (name, bounds): (&str, &[f64])| {
            let builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds);
            builder.expect("there are buckets")
        };
        let builder = buckets.into_iter().fold(PrometheusBuilder::new(), with);
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed: /metrics stays empty");
        }
        describe();
        Collector::default().describe();
        gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        handle
    })
}

fn describe() {
    describe_counter!(HANDLED, "Messages handled and acknowledged");
    describe_counter!(REJECTED, "Images rejected, by reason");
    describe_counter!(RETRIED, "Attempts that ended in a retry");
    describe_counter!(
        POSTPONED,
        "Messages that wait for their turn, because a quota is used up"
    );
    describe_counter!(
        RELEASED,
        "Messages given back because a store or the broker was away, or at a stop"
    );
    describe_counter!(DEAD, "Messages given up, by kind");
    describe_gauge!(IN_FLIGHT, "Messages being handled now");
    describe_gauge!(
        DELAYED,
        "Messages in the hands of the process that wait for the time to be handled again"
    );
    describe_histogram!(SECONDS, "Seconds that handling a message took");
    describe_gauge!(CONCURRENCY, "Messages that may be handled at a time");
    describe_histogram!(
        WAITED,
        "Seconds between a message's sending and its first handling"
    );
    describe_counter!(WORKED, "Pieces of leased work done");
    describe_counter!(WORK_FAILED, "Pieces of leased work that failed");
    describe_histogram!(WORK_SECONDS, "Seconds that a piece of leased work took");
    lengths::describe();
    describe_counter!(SPANS_ENDED, "Spans made for the collector of traces");
    describe_counter!(SPANS_EXPORTED, "Spans that the collector took");
    describe_counter!(
        SPANS_DROPPED,
        "Spans that the collector never got, by reason"
    );
    describe_gauge!(BUILD, "1, with the version of the program");
}

/// The metrics of one stage's queue.
#[derive(Clone)]
pub struct QueueMetrics {
    stage: &'static str,
    queue: Queue,
    pub handled: Counter,
    pub retried: Counter,
    pub postponed: Counter,
    pub released: Counter,
    pub in_flight: Gauge,
    pub seconds: Histogram,
    pub waited: Histogram,
}

impl QueueMetrics {
    /// Makes the metrics of a queue, of which `concurrency` messages may be handled at a time.
    /// All counters start at zero, so that a rate can be taken from the first message on.
    pub fn new(stage: &'static str, queue: Queue, concurrency: usize) -> Self {
        recorder();
        let labels = [("stage", stage), ("queue", queue.name())];
        let metrics = Self {
            stage,
            queue,
            handled: counter!(HANDLED, &labels),
            retried: counter!(RETRIED, &labels),
            postponed: counter!(POSTPONED, &labels),
            released: counter!(RELEASED, &labels),
            in_flight: gauge!(IN_FLIGHT, &labels),
            seconds: histogram!(SECONDS, &labels),
            waited: histogram!(WAITED, &labels),
        };
        gauge!(CONCURRENCY, &labels).set(concurrency as f64);
        for kind in [DeadLetterKind::Poison, DeadLetterKind::RetriesExhausted] {
            metrics.dead_lettered(kind).increment(0);
        }
        for counter in [
            &metrics.handled,
            &metrics.retried,
            &metrics.postponed,
            &metrics.released,
        ] {
            counter.increment(0);
        }
        metrics.in_flight.increment(0);
        gauge!(DELAYED, "queue" => queue.name()).increment(0);
        metrics
    }

    pub fn dead_lettered(&self, kind: DeadLetterKind) -> Counter {
        let (stage, queue) = (self.stage, self.queue.name());
        counter!(DEAD, "stage" => stage, "queue" => queue, "kind" => kind.name())
    }

    /// Counts the messages that reject an image, among those that followed from a handled one.
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
    /// How long work took that was done, in seconds.
    pub seconds: Histogram,
}

impl WorkerMetrics {
    pub fn new(stage: &'static str, worker: &'static str) -> Self {
        recorder();
        let metrics = Self {
            done: counter!(WORKED, "stage" => stage, "worker" => worker),
            failed: counter!(WORK_FAILED, "stage" => stage, "worker" => worker),
            seconds: histogram!(WORK_SECONDS, "stage" => stage, "worker" => worker),
        };
        metrics.done.increment(0);
        metrics.failed.increment(0);
        metrics
    }
}

/// The metrics of the spans that go to the collector.
#[derive(Clone)]
pub struct SpanMetrics {
    pub ended: Counter,
    pub exported: Counter,
    /// Spans that were dropped because too many waited.
    pub queue_full: Counter,
    /// Spans that were dropped because the collector was away, or refused them.
    pub export_failed: Counter,
}

impl SpanMetrics {
    pub fn new() -> Self {
        recorder();
        let metrics = Self {
            ended: counter!(SPANS_ENDED),
            exported: counter!(SPANS_EXPORTED),
            queue_full: counter!(SPANS_DROPPED, "reason" => "queue_full"),
            export_failed: counter!(SPANS_DROPPED, "reason" => "export_failed"),
        };
        for counter in [
            &metrics.ended,
            &metrics.exported,
            &metrics.queue_full,
            &metrics.export_failed,
        ] {
            counter.increment(0);
        }
        metrics
    }
}
