//! Traces, read back from Jaeger's query API.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// A person waits for the answer.
const LIMIT: Duration = Duration::from_secs(15);

/// A Jaeger, where its pages are.
#[derive(Debug, Clone)]
pub struct Jaeger {
    base: Url,
}

/// A span as Jaeger keeps it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    pub id: String,
    /// `None`: it begins the trace.
    pub parent: Option<String>,
    pub service: String,
    pub name: String,
    /// `producer`, `consumer`, `client`, or `internal`.
    pub kind: String,
    /// Microseconds since the Unix epoch.
    pub start: u64,
    /// Microseconds.
    pub duration: u64,
    pub failed: bool,
    pub attributes: BTreeMap<String, Value>,
    pub events: Vec<Event>,
    /// Traces that it links to.
    pub links: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    pub name: String,
    /// Microseconds since the Unix epoch.
    pub at: u64,
    pub attributes: BTreeMap<String, Value>,
}

impl Span {
    /// A text attribute.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.as_str()
    }

    /// The last event of that name.
    pub fn event(&self, name: &str) -> Option<&Event> {
        self.events.iter().rev().find(|event| event.name == name)
    }
}

impl Event {
    /// A text attribute; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        let value = self.attributes.get(name);
        value.and_then(Value::as_str).unwrap_or_default()
    }
}

impl Jaeger {
    /// `base`: the address of its pages, such as `http://localhost:16686`.
    pub fn at(mut base: Url) -> Result<Self> {
        let Ok(mut path) = base.path_segments_mut() else {
            bail!("{base} is no address of Jaeger's pages: write http://HOST:16686");
        };
        path.pop_if_empty();
        drop(path);
        Ok(Self { base })
    }

    /// The page of a trace.
    pub fn page(&self, trace: &str) -> Url {
        self.below(&["trace", trace])
    }

    /// The spans of a trace that have arrived, the earliest first; `None` where
    /// Jaeger knows none.
    pub async fn trace(&self, trace: &str) -> Result<Option<Vec<Span>>> {
        let url = self.below(&["api", "traces", trace]);
        let asking = client()?.get(url).send().await;
        let answer = asking.map_err(reqwest::Error::without_url);
        let answer = answer.with_context(|| {
            format!(
                "Jaeger can't be asked at {}: --jaeger or MASKLINE_JAEGER says where it is",
                self.base
            )
        })?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !answer.status().is_success() {
            bail!("Jaeger at {} answered {}", self.base, answer.status());
        }
        let body = answer.bytes().await.context("Jaeger's answer broke off")?;
        let read: Answer = serde_json::from_slice(&body).with_context(|| {
            let base = &self.base;
            format!(
                "what answers at {base} is no Jaeger: --jaeger or MASKLINE_JAEGER says where it is"
            )
        })?;
        let traces = read.data.unwrap_or_default();
        let mut spans: Vec<Span> = traces.into_iter().flat_map(Trace::spans).collect();
        spans.sort_by_key(|span| span.start);
        Ok((!spans.is_empty()).then_some(spans))
    }

    fn below(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        url
    }
}

fn client() -> Result<Client> {
    let builder = || Client::builder().timeout(LIMIT);
    // Without certificates of authorities, as in a bare container, http is left.
    let client = builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build());
    client.context("the HTTP client can't start")
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Vec<Trace>>,
}

#[derive(Deserialize)]
struct Trace {
    spans: Vec<Kept>,
    processes: HashMap<String, Process>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    #[serde(rename = "traceID")]
    trace: String,
    #[serde(rename = "spanID")]
    id: String,
    operation_name: String,
    #[serde(default)]
    references: Vec<Reference>,
    start_time: u64,
    duration: u64,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    logs: Vec<Log>,
    #[serde(rename = "processID")]
    process: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: String,
    #[serde(rename = "traceID")]
    trace: String,
    #[serde(rename = "spanID")]
    span: String,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: Value,
}

#[derive(Deserialize)]
struct Log {
    timestamp: u64,
    fields: Vec<Tag>,
}

impl Trace {
    fn spans(self) -> impl Iterator<Item = Span> {
        let Self { spans, processes } = self;
        spans.into_iter().map(move |span| {
            let process = processes.get(&span.process);
            let service = process.map(|process| process.service_name.clone());
            span.of(service.unwrap_or_default())
        })
    }
}

impl Kept {
    fn of(self, service: String) -> Span {
        let mut attributes = map(self.tags);
        let kind = attributes.remove("span.kind");
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or("internal");
        let is_parent = |reference: &&Reference| {
            reference.ref_type == "CHILD_OF" && reference.trace == self.trace
        };
        let parent = self.references.iter().find(is_parent);
        let links = self
            .references
            .iter()
            .filter(|link| link.trace != self.trace);
        Span {
            parent: parent.map(|parent| parent.span.clone()),
            links: links.map(|link| link.trace.clone()).collect(),
            id: self.id,
            service,
            name: self.operation_name,
            kind: kind.to_owned(),
            start: self.start_time,
            duration: self.duration,
            failed: attributes.remove("error") == Some(Value::Bool(true)),
            attributes,
            events: self.logs.into_iter().map(Event::from).collect(),
        }
    }
}

impl From<Log> for Event {
    fn from(log: Log) -> Self {
        let mut attributes = map(log.fields);
        let name = attributes.remove("event");
        Self {
            name: name
                .as_ref()
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            at: log.timestamp,
            attributes,
        }
    }
}

fn map(tags: Vec<Tag>) -> BTreeMap<String, Value> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_links_are_below_the_address_of_the_pages() {
        for (base, page) in [
            ("http://localhost:16686", "http://localhost:16686/trace/ab"),
            ("https://host/jaeger/", "https://host/jaeger/trace/ab"),
        ] {
            let jaeger = Jaeger::at(base.parse().unwrap()).unwrap();
            assert_eq!(jaeger.page("ab").as_str(), page);
        }
        assert!(Jaeger::at("mailto:jaeger".parse().unwrap()).is_err());
    }

    #[test]
    fn a_span_is_read_as_jaeger_writes_it() {
        let answer = json!({ "data": [{ "traceID": "t", "processes": {
            "p1": { "serviceName": "maskline-validator", "tags": [] } },
            "spans": [{ "traceID": "t", "spanID": "b", "operationName": "process validator.images",
                "references": [
                    { "refType": "CHILD_OF", "traceID": "t", "spanID": "a" },
                    { "refType": "FOLLOWS_FROM", "traceID": "u", "spanID": "c" }],
                "startTime": 5, "duration": 7, "processID": "p1", "warnings": null,
                "tags": [{ "key": "span.kind", "type": "string", "value": "consumer" },
                    { "key": "error", "type": "bool", "value": true },
                    { "key": "maskline.attempt", "type": "int64", "value": 2 }],
                "logs": [{ "timestamp": 6, "fields": [
                    { "key": "event", "type": "string", "value": "exception" },
                    { "key": "exception.message", "type": "string", "value": "no" }] }] }] }] });
        let answer: Answer = serde_json::from_value(answer).unwrap();
        let spans: Vec<Span> = answer.data.unwrap().remove(0).spans().collect();
        let [span] = &spans[..] else {
            panic!("one span: {spans:?}");
        };
        assert_eq!(span.parent.as_deref(), Some("a"));
        assert_eq!(span.links, ["u"]);
        assert_eq!(
            (&*span.service, &*span.kind),
            ("maskline-validator", "consumer")
        );
        assert!(span.failed);
        assert_eq!(span.attributes["maskline.attempt"], 2);
        assert_eq!(
            span.event("exception").unwrap().text("exception.message"),
            "no"
        );
    }
}
