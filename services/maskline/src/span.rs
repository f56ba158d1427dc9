//! The spans of a trace, read from the OTLP JSON that Jaeger's `/api/v3` answers with.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, Span as OtlpSpan,
        span::{Event as OtlpEvent, SpanKind},
        status::StatusCode,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A span as the tree draws it and as `maskline trace --json --show` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Span {
    /// Sixteen hexadecimal digits.
    pub(crate) id: String,
    /// The id of the span that caused this one. The first span of a trace has none.
    pub(crate) parent: Option<String>,
    pub(crate) service: String,
    pub(crate) name: String,
    /// `producer`, `consumer`, `client`, `server` or `internal`.
    pub(crate) kind: &'static str,
    /// Microseconds since the Unix epoch.
    pub(crate) start: u64,
    /// Microseconds.
    pub(crate) duration: u64,
    pub(crate) failed: bool,
    /// The description of the failure, if the service gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status_message: Option<String>,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) events: Vec<Event>,
    /// The ids of the other traces that this span links to.
    pub(crate) links: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Event {
    pub(crate) name: String,
    /// Microseconds since the Unix epoch.
    pub(crate) at: u64,
    pub(crate) attributes: BTreeMap<String, Value>,
}

impl Span {
    /// The text of an attribute, if the span has it and it is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.as_str()
    }

    /// The value of an attribute, if the span has it and it is a number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.attributes.get(name)?.as_f64()
    }

    /// The last event of this name.
    pub(crate) fn event(&self, name: &str) -> Option<&Event> {
        self.events.iter().rev().find(|event| event.name == name)
    }
}

impl Event {
    /// The text of an attribute. It is empty if the event has no such text.
    pub(crate) fn text(&self, name: &str) -> &str {
        let value = self.attributes.get(name);
        value.and_then(Value::as_str).unwrap_or_default()
    }
}

/// One JSON object of an answer. Jaeger may send several, one after the other.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Chunk {
    Result(Traces),
    /// Jaeger failed after the answer had begun.
    Error(ChunkError),
}

/// OTLP's `TracesData`, which `opentelemetry-proto` refuses to read without spans.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traces {
    #[serde(default)]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
struct ChunkError {
    message: String,
}

/// The spans in an answer of Jaeger's `/api/v3/traces/{trace_id}`, the earliest first.
///
/// Jaeger writes ids in hexadecimal, as OTLP's JSON encoding has it, and not in the Base64
/// of Protobuf's JSON encoding.
pub(crate) fn read(answer: &[u8]) -> Result<Vec<Span>> {
    let mut spans = vec![];
    for chunk in serde_json::Deserializer::from_slice(answer).into_iter() {
        match chunk? {
            Chunk::Result(traces) => {
                spans.extend(traces.resource_spans.into_iter().flat_map(of_resource));
            }
            Chunk::Error(error) => bail!("Jaeger reports an error: {}", error.message),
        }
    }
    spans.sort_by_key(|span: &Span| span.start);
    Ok(spans)
}

fn of_resource(resource_spans: ResourceSpans) -> impl Iterator<Item = Span> {
    let service = service_name(resource_spans.resource);
    let scopes = resource_spans.scope_spans.into_iter();
    scopes
        .flat_map(|scope| scope.spans)
        .map(move |span| Span::of(span, service.clone()))
}

fn service_name(resource: Option<Resource>) -> String {
    let mut attributes = attributes(resource.unwrap_or_default().attributes);
    match attributes.remove("service.name") {
        Some(Value::String(name)) => name,
        _ => String::new(),
    }
}

impl Span {
    fn of(span: OtlpSpan, service: String) -> Self {
        let kind = match span.kind() {
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
            SpanKind::Client => "client",
            SpanKind::Server => "server",
            SpanKind::Internal | SpanKind::Unspecified => "internal",
        };
        let status = span.status.unwrap_or_default();
        let failed = status.code() == StatusCode::Error;
        let trace = span.trace_id;
        let links = span.links.into_iter().map(|link| link.trace_id);
        Self {
            id: hex::encode(span.span_id),
            parent: (!span.parent_span_id.is_empty()).then(|| hex::encode(span.parent_span_id)),
            service,
            name: span.name,
            kind,
            start: microseconds(span.start_time_unix_nano),
            duration: microseconds(
                span.end_time_unix_nano
                    .saturating_sub(span.start_time_unix_nano),
            ),
            failed,
            status_message: Some(status.message).filter(|message| !message.is_empty()),
            attributes: attributes(span.attributes),
            events: span.events.into_iter().map(Event::from).collect(),
            links: links
                .filter(|linked| *linked != trace)
                .map(hex::encode)
                .collect(),
        }
    }
}

impl From<OtlpEvent> for Event {
    fn from(event: OtlpEvent) -> Self {
        Self {
            name: event.name,
            at: microseconds(event.time_unix_nano),
            attributes: attributes(event.attributes),
        }
    }
}

fn microseconds(nanoseconds: u64) -> u64 {
    nanoseconds / 1_000
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, Value> {
    let pairs = pairs.into_iter();
    pairs.map(|pair| (pair.key, json(pair.value))).collect()
}

/// A value as plain JSON, without the name of its type around it.
fn json(value: Option<AnyValue>) -> Value {
    use any_value::Value as Otlp;
    match value.and_then(|value| value.value) {
        None | Some(Otlp::StringValueStrindex(_)) => Value::Null,
        Some(Otlp::StringValue(text)) => text.into(),
        Some(Otlp::BoolValue(value)) => value.into(),
        Some(Otlp::IntValue(value)) => value.into(),
        Some(Otlp::DoubleValue(value)) => value.into(),
        Some(Otlp::BytesValue(bytes)) => hex::encode(bytes).into(),
        Some(Otlp::ArrayValue(array)) => array
            .values
            .into_iter()
            .map(|value| json(Some(value)))
            .collect(),
        Some(Otlp::KvlistValue(list)) => attributes(list.values).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_span_is_read_as_jaeger_writes_it() {
        // Jaeger 2.13 answered this, but for the line breaks.
        let answer = r#"{"result":{"resourceSpans":[{"resource":{"attributes":[
            {"key":"service.name","value":{"stringValue":"maskline-validator"}}]},
            "scopeSpans":[{"scope":{"name":"maskline"},"spans":[{
            "traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7",
            "parentSpanId":"000000000000000a","name":"process validator.images","kind":5,
            "startTimeUnixNano":"1795801414005000000","endTimeUnixNano":"1795801414012000000",
            "attributes":[{"key":"maskline.attempt","value":{"intValue":"2"}},
            {"key":"maskline.validation.loss","value":{"doubleValue":0.25}},
            {"key":"@jaeger@warnings","value":{"arrayValue":{"values":[{"stringValue":
            "parent span ID=000000000000000a is not in the trace; skipping clock skew adjustment"
            }]}}}],
            "events":[{"timeUnixNano":"1795801414006000000","name":"exception","attributes":[
            {"key":"exception.message","value":{"stringValue":"no"}}]}],
            "links":[{"traceId":"1bf7651916cd43dd8448eb211c80319c","spanId":"000000000000000c"},
            {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"000000000000000d"}],
            "status":{"message":"given up","code":2}}]}]}]}}"#;
        let spans = read(answer.as_bytes()).unwrap();
        let [span] = &spans[..] else {
            panic!("one span: {spans:?}");
        };
        assert_eq!(span.id, "00f067aa0ba902b7");
        assert_eq!(span.parent.as_deref(), Some("000000000000000a"));
        assert_eq!(span.links, ["1bf7651916cd43dd8448eb211c80319c"]);
        assert_eq!(
            (&*span.service, span.kind),
            ("maskline-validator", "consumer")
        );
        assert_eq!((span.start, span.duration), (1_795_801_414_005_000, 7_000));
        assert!(span.failed);
        assert_eq!(span.status_message.as_deref(), Some("given up"));
        assert_eq!(span.attributes["maskline.attempt"], 2);
        assert_eq!(span.number("maskline.validation.loss"), Some(0.25));
        let warnings = span.attributes["@jaeger@warnings"].as_array();
        assert_eq!(warnings.map(Vec::len), Some(1));
        let exception = span.event("exception").unwrap();
        assert_eq!(exception.at, 1_795_801_414_006_000);
        assert_eq!(exception.text("exception.message"), "no");
    }

    #[test]
    fn an_answer_in_chunks_is_one_trace_in_order_of_time() {
        let chunk = |name: &str, parent: &str, start: u64| {
            let span = json!({ "traceId": "0af7651916cd43dd8448eb211c80319c",
                "spanId": "000000000000000a", "parentSpanId": parent, "name": name,
                "startTimeUnixNano": start.to_string(), "endTimeUnixNano": start.to_string(),
                "status": {} });
            json!({ "result": { "resourceSpans": [
                { "resource": {}, "scopeSpans": [{ "scope": {}, "spans": [span] }] }] } })
        };
        let late = chunk("late", "000000000000000b", 9_000);
        let early = chunk("early", "", 1_000);
        let spans = read(format!("{late}\n{early}\n").as_bytes()).unwrap();
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["early", "late"]);
        assert_eq!(spans[0].parent, None);
        assert!(!spans[0].failed);
    }

    #[test]
    fn an_answer_without_spans_an_error_and_another_servers_page_are_told_apart() {
        assert_eq!(read(br#"{"result":{}}"#).unwrap(), []);
        let error = br#"{"error":{"grpcCode":13,"httpCode":500,"message":"no storage"}}"#;
        let error = read(error).unwrap_err().to_string();
        assert!(error.contains("no storage"), "{error}");
        for other in ["<!doctype html>", r#"{"data":[]}"#] {
            assert!(read(other.as_bytes()).is_err(), "{other}");
        }
    }
}
