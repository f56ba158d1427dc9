//! The spans that the process ends, kept for the tests to read.

use std::sync::{Mutex, MutexGuard, OnceLock};

use maskline_messages::CandidateId;
use maskline_runtime::telemetry;
use opentelemetry::Value;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tracing_subscriber::{Registry, layer::SubscriberExt, util::SubscriberInitExt};

static ENDED: Mutex<Vec<SpanData>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Keep;

impl SpanExporter for Keep {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        ended().extend(batch);
        Ok(())
    }
}

fn ended() -> MutexGuard<'static, Vec<SpanData>> {
    ENDED.lock().expect("no test panics holding it")
}

/// Keeps all spans from here on. It is done once, because all tests share the process's
/// subscriber.
pub fn record() {
    static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(Keep)
            .build();
        let registry = Registry::default().with(telemetry::span_layer(&provider));
        registry.init();
        provider
    });
}

/// The spans about a candidate, in the order of their start.
pub fn of(candidate: CandidateId) -> Vec<SpanData> {
    let id = Some(Value::from(candidate.to_string()));
    let about = |span: &&SpanData| attribute(span, "maskline.candidate.id") == id;
    let mut spans: Vec<_> = ended().iter().filter(about).cloned().collect();
    spans.sort_by_key(|span| span.start_time);
    spans
}

/// The spans called `name` of one trace.
pub fn named(trace: &str, name: &str) -> Vec<SpanData> {
    let matches =
        |span: &&SpanData| span.span_context.trace_id().to_string() == trace && span.name == name;
    ended().iter().filter(matches).cloned().collect()
}

pub fn attribute(span: &SpanData, name: &str) -> Option<Value> {
    let found = span.attributes.iter().find(|a| a.key.as_str() == name);
    found.map(|attribute| attribute.value.clone())
}
