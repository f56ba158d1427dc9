//! Spans as OTLP carries them, in a form that tests can compare.

use std::collections::BTreeMap;

pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::{ResourceSpans, Span as OtlpSpan, status::StatusCode},
};
use serde_json::Value;

/// Attributes by name.
pub type Attributes = BTreeMap<String, Value>;

/// A span. Ids are in hexadecimal.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The value of `service.name`, such as `maskline-storer`.
    pub service: String,
    pub name: String,
    pub kind: SpanKind,
    pub trace: String,
    pub id: String,
    /// `None` where the span is the root of its trace.
    pub parent: Option<String>,
    /// The traces that the span links to.
    pub links: Vec<String>,
    /// Nanoseconds since the Unix epoch.
    pub start: u64,
    pub attributes: Attributes,
    /// In the order in which they happened.
    pub events: Vec<Event>,
    /// The description of the error that the span ended with. It may be empty.
    pub error: Option<String>,
}

/// Something that happened at one moment of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub attributes: Attributes,
}

impl Span {
    /// The service without its prefix, and the span's name.
    pub fn title(&self) -> String {
        let service = self.service.trim_start_matches("maskline-");
        format!("{service}: {}", self.name)
    }

    /// The value of an attribute. It is null where the span has no such attribute.
    pub fn get(&self, name: &str) -> &Value {
        self.attributes.get(name).unwrap_or(&Value::Null)
    }

    /// The value of a text attribute.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).as_str()
    }

    /// Returns whether the span is one side of a message's way through a queue.
    pub fn is_hop(&self) -> bool {
        matches!(self.kind, SpanKind::Producer | SpanKind::Consumer)
    }

    /// Says whether it is an attempt at a message whose turn had not come, which did nothing.
    pub fn is_postponed(&self) -> bool {
        self.event("postponed").is_some()
    }

    /// The last event with this name.
    pub fn event(&self, name: &str) -> Option<&Event> {
        self.events.iter().rev().find(|event| event.name == name)
    }
}

/// The titles of the spans whose parent is not among `spans`.
pub fn missing_parents(spans: &[Span]) -> Vec<String> {
    let there = |id: &String| spans.iter().any(|span| span.id == *id);
    let orphans = spans
        .iter()
        .filter(|span| span.parent.as_ref().is_some_and(|id| !there(id)));
    orphans.map(Span::title).collect()
}

/// The spans of one resource, which is a service's process.
pub(crate) fn of_resource(resource: ResourceSpans) -> impl Iterator<Item = Span> {
    let about = attributes(resource.resource.unwrap_or_default().attributes);
    let service = about.get("service.name").and_then(Value::as_str);
    let service = service.unwrap_or_default().to_owned();
    let spans = resource
        .scope_spans
        .into_iter()
        .flat_map(|scope| scope.spans);
    spans.map(move |span| of_otlp(service.clone(), span))
}

fn of_otlp(service: String, span: OtlpSpan) -> Span {
    let status = span.status.clone().unwrap_or_default();
    let events = span.events.iter().map(|event| Event {
        name: event.name.clone(),
        attributes: attributes(event.attributes.clone()),
    });
    Span {
        service,
        kind: span.kind(),
        trace: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent: (!span.parent_span_id.is_empty()).then(|| hex::encode(&span.parent_span_id)),
        links: span
            .links
            .iter()
            .map(|link| hex::encode(&link.trace_id))
            .collect(),
        start: span.start_time_unix_nano,
        events: events.collect(),
        error: (status.code() == StatusCode::Error).then_some(status.message),
        name: span.name,
        attributes: attributes(span.attributes),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    let pairs = pairs.into_iter();
    pairs.map(|pair| (pair.key, json(pair.value))).collect()
}

fn json(value: Option<AnyValue>) -> Value {
    use any_value::Value as Any;
    match value.and_then(|value| value.value) {
        None => Value::Null,
        Some(Any::StringValue(text)) => text.into(),
        Some(Any::BoolValue(truth)) => truth.into(),
        Some(Any::IntValue(number)) => number.into(),
        Some(Any::DoubleValue(number)) => number.into(),
        Some(Any::BytesValue(bytes)) => hex::encode(bytes).into(),
        Some(Any::ArrayValue(list)) => {
            let values = list.values.into_iter();
            values.map(|value| json(Some(value))).collect()
        }
        Some(other) => panic!("no span of maskline has an attribute such as {other:?}"),
    }
}
