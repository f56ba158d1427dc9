//! Sends spans to a collector, which OpenTelemetry's own environment variables name.

use std::{
    env, fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};

use crate::metrics::SpanMetrics;

/// How long a process that ends waits until the collector has taken its last spans.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How often log lines mention a collector that is away.
const MENTION_EVERY: Duration = Duration::from_secs(60);

/// Spans that may wait for the collector, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise.
/// A busy service makes so many in half a minute. OpenTelemetry's own 2,048 are reached
/// before its exporter takes the first batch.
const QUEUE: usize = 16_384;

const QUEUE_SIZE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";

/// The processor that exports the spans. `None` if the environment names no collector, or
/// switches the export off.
pub fn processor() -> anyhow::Result<Option<Counted>> {
    if !wanted(|name| env::var(name).ok()) {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .build()
        .context("the traces can't be exported: check the OTEL_EXPORTER_OTLP_… variables")?;
    let metrics = SpanMetrics::new();
    let waiting = Arc::new(AtomicUsize::new(0));
    let exporter = Quiet {
        exporter,
        mentioned: Mutex::new(None),
        metrics: metrics.clone(),
        waiting: waiting.clone(),
    };
    let capacity = env::var(QUEUE_SIZE).ok().and_then(|size| size.parse().ok());
    let capacity = capacity.filter(|spans| *spans > 0).unwrap_or(QUEUE);
    let config = BatchConfigBuilder::default().with_max_queue_size(capacity);
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config.build());
    Ok(Some(Counted {
        batches: batches.build(),
        capacity,
        waiting,
        metrics,
    }))
}

fn wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let value = |name: &str| variable(name).map(|v| v.trim().to_lowercase());
    let disabled = value("OTEL_SDK_DISABLED").is_some_and(|v| v == "true")
        || value("OTEL_TRACES_EXPORTER").is_some_and(|v| v == "none");
    let endpoint = [
        opentelemetry_otlp::OTEL_EXPORTER_OTLP_ENDPOINT,
        opentelemetry_otlp::OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    ];
    !disabled
        && endpoint
            .iter()
            .any(|name| value(name).is_some_and(|v| !v.is_empty()))
}

/// OpenTelemetry's batches, behind a bounded queue that counts what it has no room for.
pub struct Counted {
    batches: BatchSpanProcessor,
    /// The number of spans that may wait.
    capacity: usize,
    waiting: Arc<AtomicUsize>,
    metrics: SpanMetrics,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted")
            .field("batches", &self.batches)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.metrics.ended.increment(1);
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.capacity {
            self.batches.on_end(span);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.metrics.queue_full.increment(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// An exporter that counts, and that mentions its failures at debug level once in a while.
struct Quiet<E> {
    exporter: E,
    mentioned: Mutex<Option<Instant>>,
    metrics: SpanMetrics,
    waiting: Arc<AtomicUsize>,
}

impl<E: fmt::Debug> fmt::Debug for Quiet<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Quiet").field(&self.exporter).finish()
    }
}

impl<E: SpanExporter> SpanExporter for Quiet<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        let result = self.exporter.export(batch).await;
        let counter = match result {
            Ok(()) => &self.metrics.exported,
            Err(_) => &self.metrics.export_failed,
        };
        counter.increment(spans as u64);
        if let Err(error) = &result
            && self.due()
        {
            tracing::debug!(%error, spans, "the collector did not take spans: they are dropped");
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E> Quiet<E> {
    fn due(&self) -> bool {
        let mut mentioned = self.mentioned.lock().unwrap_or_else(|e| e.into_inner());
        let due = mentioned.is_none_or(|at| at.elapsed() >= MENTION_EVERY);
        if due {
            *mentioned = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::wanted;

    fn with(variables: &[(&str, &str)]) -> bool {
        wanted(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn spans_leave_only_for_a_named_collector() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
        let traces = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://localhost:4318/v1/traces",
        );
        assert!(!with(&[]));
        assert!(!with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]));
        assert!(with(&[endpoint]));
        assert!(with(&[traces]));
        assert!(with(&[endpoint, ("OTEL_SDK_DISABLED", "false")]));
        assert!(!with(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]));
        assert!(!with(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]));
    }
}
