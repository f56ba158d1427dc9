//! Spans out of the process, by OpenTelemetry's own environment variables.

use std::{
    env,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

/// How long the end of a process waits for its last spans to be taken.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// A collector that is away is mentioned this often.
const MENTION_EVERY: Duration = Duration::from_secs(60);

/// `None` where the environment names no collector, or switches the export off.
pub fn exporter() -> anyhow::Result<Option<Quiet<opentelemetry_otlp::SpanExporter>>> {
    if !wanted(|name| env::var(name).ok()) {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .build()
        .context("the traces can't be exported: check the OTEL_EXPORTER_OTLP_… variables")?;
    Ok(Some(Quiet {
        exporter,
        mentioned: Mutex::new(None),
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

/// An exporter whose failures are mentioned at debug level, once in a while.
#[derive(Debug)]
pub struct Quiet<E> {
    exporter: E,
    mentioned: Mutex<Option<Instant>>,
}

impl<E: SpanExporter> SpanExporter for Quiet<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
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
