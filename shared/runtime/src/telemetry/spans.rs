//! The spans of a hop, by OpenTelemetry's messaging conventions, and the trace
//! context in message headers.
//!
//! A hop is two spans: `send QUEUE`, whose context travels in the headers, and
//! its child `process QUEUE`, one for each attempt. The queue stands for the
//! destination on both sides, since every routing key leads to exactly one.

use maskline_messages::{Message, Queue, topology::headers};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{Status, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_semantic_conventions::attribute as semconv;
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    broker::{Delivery, Envelope, Headers},
    counters::kind_name,
};

/// The W3C trace id (32 hexadecimal digits) of the current span, if it has one.
pub fn current_trace_id() -> Option<String> {
    trace_id(&Context::current())
}

/// The current span as a W3C `traceparent`, to go on from later with [`span_from`].
pub fn current_traceparent() -> Option<String> {
    let mut headers = Headers::new();
    inject(&Context::current(), &mut headers);
    headers.remove(headers::TRACEPARENT)
}

/// A span in the trace of a stored `traceparent`; without a valid one, a new trace.
pub fn span_from(traceparent: Option<&str>, name: &str) -> Span {
    let span = info_span!(parent: None, "work", otel.name = name);
    if let Some(traceparent) = traceparent {
        let carrier = Headers::from([(headers::TRACEPARENT.to_owned(), traceparent.to_owned())]);
        set_parent(&span, extract(&carrier));
    }
    span
}

fn trace_id(context: &Context) -> Option<String> {
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid().then(|| ids.trace_id().to_string())
}

struct Carrier<'a>(&'a Headers);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

struct CarrierMut<'a>(&'a mut Headers);

impl Injector for CarrierMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }
}

fn inject(context: &Context, headers: &mut Headers) {
    TraceContextPropagator::new().inject_context(context, &mut CarrierMut(headers));
    // No vendor's state is no header, not an empty one.
    if headers
        .get(headers::TRACESTATE)
        .is_some_and(String::is_empty)
    {
        headers.remove(headers::TRACESTATE);
    }
}

fn extract(headers: &Headers) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(headers))
}

fn set_parent(span: &Span, parent: Context) {
    // Fails only without a telemetry layer (then there is nothing to set) or on
    // a span that was entered (these are new).
    let _ = span.set_parent(parent);
}

/// The `send` span of one message.
pub struct Sending {
    span: Span,
}

impl Sending {
    /// Starts the span in the current trace, or in a new one where the message
    /// begins its own, and puts its context in the envelope's headers.
    pub fn start(system: &'static str, message: &Message, envelope: &mut Envelope) -> Self {
        let current = Context::current();
        let span = if message.begins_trace() {
            let root = info_span!(parent: None, "send", otel.kind = "producer", otel.name = Empty);
            root.add_link(current.span().span_context().clone());
            root
        } else {
            info_span!("send", otel.kind = "producer", otel.name = Empty)
        };
        describe_sending(&span, system, message, envelope);
        inject(&span.context(), &mut envelope.headers);
        Self { span }
    }

    pub fn span(&self) -> Span {
        self.span.clone()
    }

    pub fn failed(&self, error: &crate::BrokerError) {
        self.span
            .set_attribute(semconv::ERROR_TYPE, "publish_failed");
        exception(&self.span, "BrokerError", &error.to_string());
        self.span.set_status(Status::error(error.to_string()));
    }
}

fn describe_sending(span: &Span, system: &'static str, message: &Message, envelope: &Envelope) {
    let destination = Queue::of_key(&envelope.key).map_or("unknown", Queue::name);
    span.record("otel.name", format!("send {destination}"));
    describe_message(span, system, destination, envelope);
    span.set_attribute(semconv::MESSAGING_OPERATION_NAME, "send");
    span.set_attribute(semconv::MESSAGING_OPERATION_TYPE, "send");
    describe_subject(span, message);
}

fn describe_message(
    span: &Span,
    system: &'static str,
    destination: &'static str,
    envelope: &Envelope,
) {
    span.set_attribute(semconv::MESSAGING_SYSTEM, system);
    span.set_attribute(semconv::MESSAGING_DESTINATION_NAME, destination);
    span.set_attribute(
        semconv::MESSAGING_RABBITMQ_DESTINATION_ROUTING_KEY,
        envelope.key.clone(),
    );
    let size = i64::try_from(envelope.body.len()).unwrap_or(i64::MAX);
    span.set_attribute(semconv::MESSAGING_MESSAGE_BODY_SIZE, size);
    if let Some(id) = envelope.headers.get(headers::MESSAGE_ID) {
        span.set_attribute(semconv::MESSAGING_MESSAGE_ID, id.clone());
    }
}

fn describe_subject(span: &Span, message: &Message) {
    if let Some(job) = message.job() {
        span.set_attribute(JOB_ID, job.to_string());
    }
    if let Some(candidate) = message.candidate() {
        span.set_attribute(CANDIDATE_ID, candidate.to_string());
    }
}

const JOB_ID: &str = "maskline.job.id";
const CANDIDATE_ID: &str = "maskline.candidate.id";
const STAGE: &str = "maskline.stage";
const ATTEMPT: &str = "maskline.attempt";
const REJECTION_REASON: &str = "maskline.rejection.reason";

/// The `process` span of one attempt at a message.
#[derive(Clone)]
pub struct Processing {
    span: Span,
}

impl Processing {
    /// Starts the span as a child of the `send` span in the delivery's headers.
    pub fn start(system: &'static str, stage: &'static str, delivery: &Delivery) -> Self {
        let queue = delivery.queue.name();
        // The fields are what log lines show; the rest is for the trace alone.
        let span = info_span!(
            parent: None,
            "process",
            otel.kind = "consumer",
            otel.name = format!("process {queue}"),
            { STAGE } = stage,
            { JOB_ID } = Empty,
            { CANDIDATE_ID } = Empty,
        );
        set_parent(&span, extract(&delivery.envelope.headers));
        describe_message(&span, system, queue, &delivery.envelope);
        span.set_attribute(semconv::MESSAGING_OPERATION_NAME, "process");
        span.set_attribute(semconv::MESSAGING_OPERATION_TYPE, "process");
        span.set_attribute(semconv::MESSAGING_CONSUMER_GROUP_NAME, stage);
        span.set_attribute(ATTEMPT, i64::from(delivery.attempts) + 1);
        Self { span }
    }

    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// The W3C trace id of the message's trace.
    pub fn trace_id(&self) -> Option<String> {
        trace_id(&self.span.context())
    }

    /// What the message turned out to be about.
    pub fn decoded(&self, message: &Message) {
        if let Some(job) = message.job() {
            self.span.record(JOB_ID, tracing::field::display(job));
        }
        if let Some(candidate) = message.candidate() {
            self.span
                .record(CANDIDATE_ID, tracing::field::display(candidate));
        }
    }

    /// A rejection is a normal end: the span says why and has no error.
    pub fn rejected<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) {
        for message in messages {
            if let Message::ImageRejected(rejected) = message {
                let code = rejected.reason.code();
                self.span.set_attribute(REJECTION_REASON, code);
                let detail = rejected.reason.to_string();
                let attributes = vec![
                    KeyValue::new(REJECTION_REASON, code),
                    KeyValue::new("maskline.rejection.detail", detail),
                ];
                self.span.add_event("rejected", attributes);
            }
        }
    }

    /// The attempt failed and another will follow.
    pub fn retried(&self, error: &str, after: std::time::Duration) {
        self.span.set_attribute(semconv::ERROR_TYPE, "retry");
        exception(&self.span, "Retry", error);
        let seconds = KeyValue::new("maskline.retry.after_seconds", after.as_secs_f64());
        self.span.add_event("retry", vec![seconds]);
    }

    /// The message was given up.
    pub fn dead_lettered(&self, kind: crate::broker::WhyKind, error: &str) {
        let kind = kind_name(kind);
        self.span.set_attribute(semconv::ERROR_TYPE, kind);
        exception(&self.span, kind, error);
        self.span.set_status(Status::error(error.to_owned()));
    }

    /// A store or the way out was away: the message goes back as it was.
    pub fn released(&self, error: &str) {
        self.span.set_attribute(semconv::ERROR_TYPE, "released");
        exception(&self.span, "Released", error);
    }
}

fn exception(span: &Span, kind: &'static str, message: &str) {
    let attributes = vec![
        KeyValue::new(semconv::EXCEPTION_TYPE, kind),
        KeyValue::new(semconv::EXCEPTION_MESSAGE, message.to_owned()),
    ];
    span.add_event("exception", attributes);
}
