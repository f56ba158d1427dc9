//! Traces as a real Jaeger keeps them, read from its query API.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

/// How long spans may be on their way from a service that has ended.
const ARRIVAL: Duration = Duration::from_secs(30);

/// The one that `tests/servers` found or made.
pub struct Jaeger {
    query: String,
    otlp: String,
}

/// Attributes by name.
pub type Attributes = BTreeMap<String, Value>;

#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub id: String,
    pub parent: Option<String>,
    /// Traces that it links to.
    pub links: Vec<String>,
    /// Microseconds since the Unix epoch.
    pub start: u64,
    pub attributes: Attributes,
    /// Names and attributes, in order.
    pub events: Vec<(String, Attributes)>,
}

impl Span {
    /// The service and the name.
    pub fn described(&self) -> String {
        let service = self.service.trim_start_matches("maskline-");
        format!("{service}: {}", self.name)
    }

    /// An attribute; null where there is none.
    pub fn get(&self, name: &str) -> &Value {
        self.attributes.get(name).unwrap_or(&Value::Null)
    }

    /// `producer`, `consumer`, `client` or `internal`.
    pub fn kind(&self) -> &str {
        self.get("span.kind").as_str().unwrap_or("internal")
    }

    pub fn is_hop(&self) -> bool {
        matches!(self.kind(), "producer" | "consumer")
    }

    /// The attributes of the last event of that name.
    pub fn event(&self, name: &str) -> Option<&Attributes> {
        let mut events = self.events.iter().rev();
        events.find(|event| event.0 == name).map(|event| &event.1)
    }
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

    /// Where its pages are, for `maskline trace --jaeger`.
    pub fn pages(&self) -> &str {
        &self.query
    }

    /// Where it takes spans by OTLP over gRPC.
    pub fn otlp(&self) -> &str {
        &self.otlp
    }

    /// The spans of a trace that have arrived, in the order in which they began.
    pub async fn trace(&self, id: &str) -> Vec<Span> {
        let answer = reqwest::get(format!("{}/api/traces/{id}", self.query)).await;
        let answer = answer.expect("Jaeger answers");
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return vec![];
        }
        let body = answer.bytes().await.expect("a whole answer");
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        let traces = list(&answer["data"]);
        let mut spans: Vec<Span> = traces.flat_map(of_trace).collect();
        spans.sort_by_key(|span| span.start);
        spans
    }

    /// The same once so many spans of that name have arrived; without them, when it
    /// is sure that they won't.
    pub async fn trace_with(&self, id: &str, name: &str, spans: usize) -> Vec<Span> {
        let given_up = Instant::now() + ARRIVAL;
        loop {
            let found = self.trace(id).await;
            let named = found.iter().filter(|span| span.name == name).count();
            if (named >= spans && missing_parents(&found).is_empty()) || Instant::now() > given_up {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Of spans whose parents are not in their trace, the names.
pub fn missing_parents(spans: &[Span]) -> Vec<String> {
    let there = |id: &String| spans.iter().any(|span| span.id == *id);
    let orphans = spans
        .iter()
        .filter(|span| span.parent.as_ref().is_some_and(|id| !there(id)));
    orphans.map(Span::described).collect()
}

fn of_trace(trace: &Value) -> impl Iterator<Item = Span> {
    let text = |value: &Value| value.as_str().expect("Jaeger writes text").to_owned();
    list(&trace["spans"]).map(move |span| {
        let process = text(&span["processID"]);
        let references = || list(&span["references"]);
        let mut parents = references().filter(|reference| reference["refType"] == "CHILD_OF");
        let links = references().filter(|reference| reference["refType"] == "FOLLOWS_FROM");
        let events = list(&span["logs"]).map(|log| {
            let fields = attributes(&log["fields"]);
            (text(&fields["event"]), fields)
        });
        Span {
            service: text(&trace["processes"][&process]["serviceName"]),
            name: text(&span["operationName"]),
            id: text(&span["spanID"]),
            parent: parents.next().map(|reference| text(&reference["spanID"])),
            links: links.map(|reference| text(&reference["traceID"])).collect(),
            start: span["startTime"].as_u64().expect("microseconds"),
            attributes: attributes(&span["tags"]),
            events: events.collect(),
        }
    })
}

fn attributes(tags: &Value) -> Attributes {
    let named = list(tags).map(|tag| {
        let name = tag["key"].as_str().expect("a name");
        (name.to_owned(), tag["value"].clone())
    });
    named.collect()
}

/// Jaeger writes an empty list as null.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
