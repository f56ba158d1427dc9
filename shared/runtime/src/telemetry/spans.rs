//! The spans of a hop, by OpenTelemetry's conventions for messaging, and the trace context
//! in message headers.
//!
//! A hop is two kinds of spans: `send QUEUE`, whose context travels in the headers, and its
//! children `process QUEUE`, one for each attempt. Both are named after the queue, since
//! every routing key leads to exactly one.

use maskline_foundation::telemetry_names::{
    attribute::{
        ATTEMPT, CANDIDATE_ID, JOB_ID, OTEL_NAME, POSTPONED_REASON, REJECTION_DETAIL,
        REJECTION_REASON, RETRY_AFTER_SECONDS, STAGE,
    },
    event::{EXCEPTION, POSTPONED, REJECTED, RETRY},
    span::{PROCESS, SEND, WORK, of_queue},
};
use maskline_messages::{
    Message, Queue, Reason,
    topology::{EXCHANGE, headers},
};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{Status, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_semantic_conventions::attribute as semconv;
use tracing::{Instrument, Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::broker::{BrokerError, DeadLetterKind, Delivery, Envelope, Headers, Publish};

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

/// Does a worker's work in a span of [`span_from`] with the attributes `about`. If the work
/// fails, the span says why.
pub async fn in_span_from<T>(
    traceparent: Option<&str>,
    name: &str,
    about: impl IntoIterator<Item = (&'static str, String)>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let span = span_from(traceparent, name);
    for (attribute, value) in about {
        span.set_attribute(attribute, value);
    }
    let worked = work.instrument(span.clone()).await;
    worked.inspect_err(|error| failed(&span, "work_failed", "WorkFailed", &format!("{error:#}")))
}

/// Records in the span of [`in_span_from`] that the work was given up for good, and why.
pub fn given_up(why: &str) {
    failed(&Span::current(), "given_up", "GivenUp", why);
}

/// A span in the trace of a stored `traceparent`. Without a valid one it begins a new trace.
pub fn span_from(traceparent: Option<&str>, name: &str) -> Span {
    let span = info_span!(parent: None, WORK, { OTEL_NAME } = name);
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
    // If no vendor has a state, there is no header, rather than an empty one.
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
    // This fails only without a telemetry layer, when there is nothing to set, or on a span
    // that was entered, which new ones were not.
    let _ = span.set_parent(parent);
}

/// The `send` span of one message.
pub struct Sending {
    span: Span,
}

impl Sending {
    /// Starts the span in the current trace.
    pub fn start() -> Self {
        let span = info_span!(SEND, otel.kind = "producer", { OTEL_NAME } = Empty);
        Self { span }
    }

    /// Starts the span in a trace of its own, linked to the current one.
    pub fn beginning_a_trace() -> Self {
        let span = info_span!(parent: None, SEND, otel.kind = "producer", { OTEL_NAME } = Empty);
        let current = Context::current();
        let cause = current.span().span_context().clone();
        if cause.is_valid() {
            span.add_link(cause);
        }
        Self { span }
    }

    /// Records what is sent, and puts the span's context into the envelope's headers.
    pub fn describe(&self, broker: &dyn Publish, message: &Message, envelope: &mut Envelope) {
        let span = &self.span;
        let queue = Queue::of_key(&envelope.key);
        span.record(
            OTEL_NAME,
            of_queue(SEND, queue.map_or("unknown", Queue::name)),
        );
        describe_message(span, broker, envelope);
        if let Some(queue) = queue {
            let destination = destination(broker.system(), &envelope.key, queue, Side::Producer);
            span.set_attribute(semconv::MESSAGING_DESTINATION_NAME, destination);
        }
        span.set_attribute(semconv::MESSAGING_OPERATION_NAME, SEND);
        span.set_attribute(semconv::MESSAGING_OPERATION_TYPE, "send");
        if let Some(job) = message.job() {
            span.set_attribute(JOB_ID, job.to_string());
        }
        if let Some(candidate) = message.candidate() {
            span.set_attribute(CANDIDATE_ID, candidate.to_string());
        }
        if let Some(reason) = reason(message) {
            span.set_attribute(REJECTION_REASON, reason.code());
        }
        inject(&span.context(), &mut envelope.headers);
    }

    pub fn span(&self) -> Span {
        self.span.clone()
    }

    pub fn failed(&self, error: &BrokerError) {
        failed(
            &self.span,
            "publish_failed",
            "BrokerError",
            &format!("{error:#}"),
        );
    }
}

/// Which end of a hop a span is.
#[derive(Clone, Copy)]
enum Side {
    Producer,
    Consumer,
}

/// `messaging.destination.name`. For RabbitMQ the conventions want the exchange, the routing
/// key and, for consumers, the queue. For other brokers it is the queue.
fn destination(system: &str, key: &str, queue: Queue, side: Side) -> String {
    match (system, side) {
        ("rabbitmq", Side::Producer) => format!("{EXCHANGE}:{key}"),
        ("rabbitmq", Side::Consumer) => format!("{EXCHANGE}:{key}:{queue}"),
        _ => queue.name().to_owned(),
    }
}

fn describe_message(span: &Span, broker: &dyn Publish, envelope: &Envelope) {
    span.set_attribute(semconv::MESSAGING_SYSTEM, broker.system());
    if let Some((host, port)) = broker.server() {
        span.set_attribute(semconv::SERVER_ADDRESS, host);
        span.set_attribute(semconv::SERVER_PORT, i64::from(port));
    }
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

/// Why the image that a message is about was rejected, if it was.
fn reason(message: &Message) -> Option<&Reason> {
    match message {
        Message::ImageRejected(rejected) => Some(&rejected.reason),
        _ => None,
    }
}

/// The `process` span of one attempt at a message.
#[derive(Clone)]
pub struct Processing {
    span: Span,
}

impl Processing {
    /// Starts the span as a child of the `send` span in the delivery's headers.
    pub fn start(broker: &dyn Publish, stage: &'static str, delivery: &Delivery) -> Self {
        let queue = delivery.queue;
        // The fields are what log lines show; the rest is for the trace alone.
        let span = info_span!(
            parent: None,
            PROCESS,
            otel.kind = "consumer",
            { OTEL_NAME } = of_queue(PROCESS, queue.name()),
            { STAGE } = stage,
            { JOB_ID } = Empty,
            { CANDIDATE_ID } = Empty,
        );
        set_parent(&span, extract(&delivery.envelope.headers));
        describe_message(&span, broker, &delivery.envelope);
        let system = broker.system();
        let destination = destination(system, &delivery.envelope.key, queue, Side::Consumer);
        span.set_attribute(semconv::MESSAGING_DESTINATION_NAME, destination);
        span.set_attribute(semconv::MESSAGING_OPERATION_NAME, PROCESS);
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

    /// Records what the message turned out to be about.
    pub fn decoded(&self, message: &Message) {
        if let Some(job) = message.job() {
            self.span.record(JOB_ID, tracing::field::display(job));
        }
        if let Some(candidate) = message.candidate() {
            self.span
                .record(CANDIDATE_ID, tracing::field::display(candidate));
        }
        if let Some(reason) = reason(message) {
            self.rejected(reason);
        }
    }

    /// Records what was sent because of the message `about`.
    pub fn sent<'a>(&self, about: &Message, messages: impl IntoIterator<Item = &'a Message>) {
        // Lines of a source that name no image are rejected in traces of their own, so they are
        // left out here.
        let of_image = |message: &&Message| message.candidate() == about.candidate();
        for message in messages.into_iter().filter(of_image) {
            if let Some(reason) = reason(message) {
                self.rejected(reason);
            }
        }
    }

    /// A rejection is a normal outcome, so the span says why and has no error.
    fn rejected(&self, reason: &Reason) {
        let code = reason.code();
        self.span.set_attribute(REJECTION_REASON, code);
        let attributes = vec![
            KeyValue::new(REJECTION_REASON, code),
            KeyValue::new(REJECTION_DETAIL, reason.to_string()),
        ];
        self.span.add_event(REJECTED, attributes);
    }

    /// The attempt failed and another will follow.
    pub fn retried(&self, error: &str, after: std::time::Duration) {
        self.span.set_attribute(semconv::ERROR_TYPE, "retry");
        exception(&self.span, "Retry", error);
        let seconds = KeyValue::new(RETRY_AFTER_SECONDS, after.as_secs_f64());
        self.span.add_event(RETRY, vec![seconds]);
    }

    /// The turn of the message has not come. That is no failure, so the span has no error.
    pub fn postponed(&self, why: &str, after: std::time::Duration) {
        let attributes = vec![
            KeyValue::new(POSTPONED_REASON, why.to_owned()),
            KeyValue::new(RETRY_AFTER_SECONDS, after.as_secs_f64()),
        ];
        self.span.add_event(POSTPONED, attributes);
    }

    /// The message was given up.
    pub fn dead_lettered(&self, kind: DeadLetterKind, error: &str) {
        let kind = kind.name();
        failed(&self.span, kind, kind, error);
    }

    /// A store or the broker was away, so the message goes back to its queue as it was.
    pub fn released(&self, error: &str) {
        self.span.set_attribute(semconv::ERROR_TYPE, "released");
        exception(&self.span, "Released", error);
    }
}

/// Marks the span as an error of that type, with an exception of that kind that says why.
fn failed(span: &Span, error_type: &'static str, kind: &'static str, why: &str) {
    span.set_attribute(semconv::ERROR_TYPE, error_type);
    exception(span, kind, why);
    span.set_status(Status::error(why.to_owned()));
}

fn exception(span: &Span, kind: &'static str, message: &str) {
    let attributes = vec![
        KeyValue::new(semconv::EXCEPTION_TYPE, kind),
        KeyValue::new(semconv::EXCEPTION_MESSAGE, message.to_owned()),
    ];
    span.add_event(EXCEPTION, attributes);
}
