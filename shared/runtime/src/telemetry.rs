//! Traces to OTLP, logs to standard error.
//!
//! Trace ids are always made and passed on. Spans leave the process only if
//! `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` names a
//! collector. They wait for it in a bounded queue, and what doesn't fit is
//! dropped: a collector that is away slows nothing.

mod export;
mod logs;
mod spans;

use std::env;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use opentelemetry_semantic_conventions::resource::{SERVICE_INSTANCE_ID, SERVICE_NAME};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::instance::instance;
pub(crate) use spans::{Processing, Sending};
pub use spans::{current_trace_id, current_traceparent, given_up, in_span_from, span_from};

/// The name of the process in traces, and which log lines it writes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `service.name`, unless `OTEL_SERVICE_NAME` is set.
    pub service: String,
    /// The level of our own log lines if `RUST_LOG` is not set: `info` for a service,
    /// `warn` for a command that a person types.
    pub default_level: &'static str,
}

/// The running telemetry. Without a [`shutdown`](Self::shutdown) at the end the last spans
/// are lost.
#[must_use]
pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// Starts logs and traces for the whole process. This must be called within a tokio
    /// runtime, which the gRPC exporter works on.
    pub fn start(settings: &Settings) -> anyhow::Result<Self> {
        let provider = provider(&settings.service)?;
        let registry = Registry::default().with(span_layer(&provider));
        registry
            .with(logs::layer(settings.default_level)?)
            .try_init()?;
        Ok(Self { provider })
    }

    /// Sends the last spans, within a few seconds. This blocks the thread.
    pub fn shutdown(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(export::FLUSH_LIMIT) {
            tracing::debug!(%error, "the last spans may not have arrived");
        }
    }
}

fn provider(service: &str) -> anyhow::Result<SdkTracerProvider> {
    let builder = SdkTracerProvider::builder().with_resource(resource(service));
    Ok(match export::processor()? {
        Some(processor) => builder.with_span_processor(processor).build(),
        None => builder.build(),
    })
}

fn resource(service: &str) -> Resource {
    // The builder reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES. A value that is set
    // here would override them.
    let named = |variable: &str, part: &str| env::var(variable).is_ok_and(|v| v.contains(part));
    let mut resource = Resource::builder();
    if !named("OTEL_SERVICE_NAME", "") && !named("OTEL_RESOURCE_ATTRIBUTES", SERVICE_NAME) {
        resource = resource.with_service_name(service.to_owned());
    }
    if !named("OTEL_RESOURCE_ATTRIBUTES", SERVICE_INSTANCE_ID) {
        resource = resource.with_attribute(opentelemetry::KeyValue::new(
            SERVICE_INSTANCE_ID,
            instance(),
        ));
    }
    resource.build()
}

/// Makes OpenTelemetry spans of our `tracing` spans, whatever the log level.
///
/// Events (log lines) become span events from `warn` on. Those of this crate do not, because
/// it records what happened to a message by OpenTelemetry's conventions.
pub fn span_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let ours = Targets::new().with_target("maskline", LevelFilter::INFO);
    let loud = tracing_subscriber::filter::filter_fn(|meta| {
        meta.is_span()
            || (*meta.level() <= tracing::Level::WARN
                && !meta.target().starts_with("maskline_runtime"))
    });
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("maskline"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(tracing_subscriber::filter::FilterExt::and(ours, loud))
}
