//! Traces, read back from Jaeger's query API.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use maskline_messages::shown;
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// A person waits for the answer.
const LIMIT: Duration = Duration::from_secs(15);

/// Of an answer: more than a tree of spans that a person reads.
const MOST_BYTES: usize = 64 << 20;

const WHERE: &str = "--jaeger (MASKLINE_JAEGER) says where its pages are, --jaeger-api \
    (MASKLINE_JAEGER_API) where it is asked if that is elsewhere";

/// A Jaeger. Not for debug output: an address may hold a password.
#[derive(Clone)]
pub struct Jaeger {
    /// Where its pages are, without user and password.
    pages: Url,
    /// Where its query API is.
    asked: Url,
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
    /// `pages`: the address of its pages, such as `http://localhost:16686`.
    pub fn at(pages: Url) -> Result<Self> {
        let asked = base(pages)?;
        Ok(Self {
            pages: bare(asked.clone()),
            asked,
        })
    }

    /// Asks at `api`, if there is one, and not where the pages are.
    pub fn asked_at(self, api: Option<Url>) -> Result<Self> {
        match api {
            Some(api) => Ok(Self {
                asked: base(api)?,
                ..self
            }),
            None => Ok(self),
        }
    }

    /// The page of a trace.
    pub fn page(&self, trace: &str) -> Url {
        below(&self.pages, &["trace", trace])
    }

    /// The spans of a trace that have arrived, the earliest first; `None` where
    /// Jaeger knows none.
    pub async fn trace(&self, trace: &str) -> Result<Option<Vec<Span>>> {
        let at = shown(&self.asked);
        let url = below(&self.asked, &["api", "traces", trace]);
        let asking = client()?.get(url).send().await;
        let answer = asking.map_err(reqwest::Error::without_url);
        let answer = answer.with_context(|| format!("Jaeger can't be asked at {at}: {WHERE}"))?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !answer.status().is_success() {
            bail!("Jaeger at {at} answered {}", answer.status());
        }
        let body = body(answer, MOST_BYTES).await?;
        let read: Answer = serde_json::from_slice(&body)
            .with_context(|| format!("what answers at {at} is no Jaeger: {WHERE}"))?;
        let traces = read.data.unwrap_or_default();
        let mut spans: Vec<Span> = traces.into_iter().flat_map(Trace::spans).collect();
        spans.sort_by_key(|span| span.start);
        Ok((!spans.is_empty()).then_some(spans))
    }
}

/// An address that others are below.
fn base(mut address: Url) -> Result<Url> {
    let Ok(mut path) = address.path_segments_mut() else {
        bail!("an address of Jaeger names no host: write http://HOST:16686");
    };
    path.pop_if_empty();
    drop(path);
    Ok(address)
}

/// An address as a person may see and open it, who is asked for what it leaves out.
fn bare(mut address: Url) -> Url {
    address.set_query(None);
    address.set_fragment(None);
    // Fails only for URLs that can't have credentials, which have none.
    let _ = address.set_username("");
    let _ = address.set_password(None);
    address
}

fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.extend(segments);
    }
    url
}

/// What was answered, if it has no more than `most` bytes.
async fn body(mut answer: Response, most: usize) -> Result<Vec<u8>> {
    let mut body = vec![];
    loop {
        let chunk = answer.chunk().await.map_err(reqwest::Error::without_url);
        let Some(chunk) = chunk.context("Jaeger's answer broke off")? else {
            return Ok(body);
        };
        if chunk.len() > most - body.len() {
            bail!("Jaeger's answer has more than {most} bytes: look at the trace's page instead");
        }
        body.extend_from_slice(&chunk);
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
    use std::net::SocketAddr;

    use axum::{
        Router,
        http::{HeaderMap, header::AUTHORIZATION},
        routing::get,
    };
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    fn jaeger(pages: &str) -> Jaeger {
        Jaeger::at(pages.parse().unwrap()).unwrap()
    }

    /// A Jaeger that knows no trace, and whom it answers is logged in.
    async fn locked() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = |headers: HeaderMap| async move {
            match headers.contains_key(AUTHORIZATION) {
                true => (StatusCode::OK, r#"{"data":[]}"#),
                false => (StatusCode::UNAUTHORIZED, ""),
            }
        };
        let router = Router::new().route("/api/traces/{trace}", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    #[test]
    fn the_links_are_below_the_address_of_the_pages() {
        for (base, page) in [
            ("http://localhost:16686", "http://localhost:16686/trace/ab"),
            ("https://host/jaeger/", "https://host/jaeger/trace/ab"),
            ("https://me:hunter2@h/?a=hunter2#b", "https://h/trace/ab"),
        ] {
            assert_eq!(jaeger(base).page("ab").as_str(), page);
        }
        let no_base = Jaeger::at("me:hunter2@host".parse().unwrap());
        let error = no_base.err().expect("it has no host").to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn it_is_asked_where_its_pages_are_or_where_else_is_said() {
        let asked = |jaeger: Jaeger| below(&jaeger.asked, &["api"]).to_string();
        let pages = jaeger("http://me:hunter2@pages:1");
        assert_eq!(asked(pages.clone()), "http://me:hunter2@pages:1/api");
        let same = pages.clone().asked_at(None).unwrap();
        assert_eq!(asked(same), "http://me:hunter2@pages:1/api");
        let api = "http://api:2/query/".parse().unwrap();
        let elsewhere = pages.clone().asked_at(Some(api)).unwrap();
        assert_eq!(elsewhere.page("ab").as_str(), "http://pages:1/trace/ab");
        assert_eq!(asked(elsewhere), "http://api:2/query/api");
        let no_base = "mailto:jaeger".parse().unwrap();
        assert!(pages.asked_at(Some(no_base)).is_err());
    }

    #[tokio::test]
    async fn it_hears_the_password_and_nobody_else_does() {
        let locked = locked().await;
        let with = |who: &str| {
            let api = format!("http://{who}{locked}").parse().unwrap();
            jaeger("http://pages").asked_at(Some(api)).unwrap()
        };
        assert_eq!(with("me:hunter2@").trace("ab").await.unwrap(), None);
        let error = with("").trace("ab").await.unwrap_err();
        let expected = format!("Jaeger at http://{locked}/ answered 401 Unauthorized");
        assert_eq!(error.to_string(), expected);

        let nobody = jaeger("http://me:hunter2@127.0.0.1:1");
        let error = nobody.trace("ab").await.unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("asked at http://127.0.0.1:1/: --jaeger"));
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let answer = || Response::from(axum::http::Response::new("1234"));
        assert_eq!(body(answer(), 4).await.unwrap(), b"1234");
        let error = body(answer(), 3).await.unwrap_err().to_string();
        assert!(error.contains("more than 3 bytes"), "{error}");
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
