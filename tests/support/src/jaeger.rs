//! Traces as a real Jaeger keeps them, read from its query API `/api/v3`.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use serde::Deserialize;
use tokio::time::Instant;

use crate::span::{Span, missing_parents, of_resource};

/// How long spans may be on their way after their service has ended.
const ARRIVAL: Duration = Duration::from_secs(30);

/// The Jaeger that `tests/servers` found or made.
pub struct Jaeger {
    query: String,
    otlp: String,
}

/// What `/api/v3/traces/ID` answers.
#[derive(Deserialize)]
struct Answer {
    result: Traces,
}

/// OTLP's `TracesData`. The type of `opentelemetry-proto` can't be read where it is empty.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traces {
    #[serde(default)]
    resource_spans: Vec<ResourceSpans>,
}

impl Jaeger {
    pub fn from_environment() -> Self {
        let variable = |name: &str| {
            let address = std::env::var(name);
            address.unwrap_or_else(|_| panic!("{name} is not set: run tests/run"))
        };
        Self {
            query: variable("MASKLINE_TEST_JAEGER"),
            otlp: variable("MASKLINE_TEST_JAEGER_OTLP"),
        }
    }

    /// The address of its pages, for `maskline trace --jaeger`.
    pub fn pages(&self) -> &str {
        &self.query
    }

    /// The address at which it takes spans by OTLP over gRPC.
    pub fn otlp(&self) -> &str {
        &self.otlp
    }

    /// The spans of a trace that have arrived, in the order in which they started.
    pub async fn trace(&self, id: &str) -> Vec<Span> {
        let answer = reqwest::get(format!("{}/api/v3/traces/{id}", self.query)).await;
        let answer = answer.expect("Jaeger answers");
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return vec![];
        }
        assert!(answer.status().is_success(), "{answer:?}");
        let body = answer.bytes().await.expect("Jaeger's answer is whole");
        read(&body)
    }

    /// Like [`trace`](Self::trace), as soon as `count` spans named `name` and the parents
    /// of all spans have arrived. Returns what there is when that takes too long.
    pub async fn trace_with(&self, id: &str, name: &str, count: usize) -> Vec<Span> {
        let given_up = Instant::now() + ARRIVAL;
        loop {
            let found = self.trace(id).await;
            let named = found.iter().filter(|span| span.name == name).count();
            let is_whole = named >= count && missing_parents(&found).is_empty();
            if is_whole || Instant::now() > given_up {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn read(body: &[u8]) -> Vec<Span> {
    let answer: Answer = serde_json::from_slice(body).expect("Jaeger answers with OTLP in JSON");
    let resources = answer.result.resource_spans.into_iter();
    let mut spans: Vec<Span> = resources.flat_map(of_resource).collect();
    spans.sort_by_key(|span| span.start);
    spans
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
    use serde_json::json;

    use super::*;

    /// The form is that of Jaeger 2.13.
    #[test]
    fn an_answer_is_read_with_kinds_links_events_and_errors() {
        let text =
            |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let (trace, other) = (
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "0af7651916cd43dd8448eb211c80319c",
        );
        let answer = json!({ "result": { "resourceSpans": [{
            "resource": { "attributes": [text("service.name", "maskline-storer")] },
            "scopeSpans": [{
                "scope": { "name": "maskline" },
                "spans": [{
                    "traceId": trace,
                    "spanId": "00f067aa0ba902b7",
                    "parentSpanId": "b7ad6b7169203331",
                    "name": "process storer.images",
                    "kind": 5,
                    "startTimeUnixNano": "1700000000000000002",
                    "endTimeUnixNano": "1700000000000000003",
                    "attributes": [
                        { "key": "maskline.attempt", "value": { "intValue": "2" } },
                        text("maskline.stage", "storer"),
                    ],
                    "events": [{
                        "timeUnixNano": "1700000000000000002",
                        "name": "exception",
                        "attributes": [text("exception.message", "it broke")],
                    }],
                    "links": [{ "traceId": other, "spanId": "b7ad6b7169203331" }],
                    "status": { "message": "it broke", "code": 2 },
                }, {
                    "traceId": trace,
                    "spanId": "b7ad6b7169203331",
                    "parentSpanId": "",
                    "name": "send storer.images",
                    "kind": 4,
                    "startTimeUnixNano": "1700000000000000001",
                    "endTimeUnixNano": "1700000000000000002",
                    "status": {},
                }],
            }],
        }] } });
        let spans = read(answer.to_string().as_bytes());
        let [send, process] = &spans[..] else {
            panic!("two spans: {spans:?}");
        };
        assert_eq!(send.title(), "storer: send storer.images");
        assert_eq!(
            (send.kind, send.parent.as_ref()),
            (SpanKind::Producer, None)
        );
        assert_eq!(send.error, None);
        assert_eq!(process.kind, SpanKind::Consumer);
        assert_eq!(process.parent.as_ref(), Some(&send.id));
        assert_eq!(process.links, [other]);
        assert_eq!(process.get("maskline.attempt"), 2);
        assert_eq!(process.text("maskline.stage"), Some("storer"));
        let exception = process.event("exception").expect("the event");
        assert_eq!(exception.attributes["exception.message"], "it broke");
        assert_eq!(process.error.as_deref(), Some("it broke"));
        assert_eq!(missing_parents(&spans), [""; 0]);
        assert_eq!(
            missing_parents(&spans[1..]),
            ["storer: process storer.images"]
        );
    }
}
