//! A receiver of traces by OTLP over HTTP, as a collector's.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Status, span::Event},
};
use prost::Message;
use tokio::{net::TcpListener, task::AbortHandle};

/// What a span says, ids in hexadecimal.
#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty where it has none.
    pub parent: String,
    /// Traces that it links to.
    pub links: Vec<String>,
    attributes: Vec<KeyValue>,
    events: Vec<Event>,
    status: Option<Status>,
    start: u64,
}

impl Span {
    /// A text attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        attribute(&self.attributes, name)
    }

    pub fn has_event(&self, name: &str) -> bool {
        self.events.iter().any(|event| event.name == name)
    }

    /// All that it says in words, to be searched.
    pub fn said(&self) -> String {
        format!(
            "{} {:?} {:?} {:?}",
            self.name, self.attributes, self.events, self.status
        )
    }
}

/// Receives until it is dropped.
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    serving: AbortHandle,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let spans = Arc::new(Mutex::new(vec![]));
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(spans.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            spans,
            serving: serving.abort_handle(),
        }
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that have arrived whose names begin so.
    pub fn named(&self, begin: &str) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let named = spans.iter().filter(|span| span.name.starts_with(begin));
        named.cloned().collect()
    }

    /// The spans of one trace that have arrived, in the order in which they began.
    pub fn trace(&self, trace: &str) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let of_trace = spans.iter().filter(|span| span.trace == trace);
        let mut found: Vec<Span> = of_trace.cloned().collect();
        found.sort_by_key(|span| span.start);
        found
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(
    State(spans): State<Arc<Mutex<Vec<Span>>>>,
    body: Bytes,
) -> Result<(), StatusCode> {
    let request = ExportTraceServiceRequest::decode(body);
    let request = request.map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
    spans.extend(request.resource_spans.into_iter().flat_map(of_resource));
    Ok(())
}

fn of_resource(resource: ResourceSpans) -> impl Iterator<Item = Span> {
    let about = resource.resource.unwrap_or_default();
    let service = attribute(&about.attributes, "service.name");
    let service = service.unwrap_or_default().to_owned();
    let spans = resource.scope_spans.into_iter().flat_map(|s| s.spans);
    spans.map(move |span| Span {
        service: service.clone(),
        name: span.name,
        trace: hex::encode(span.trace_id),
        id: hex::encode(span.span_id),
        parent: hex::encode(span.parent_span_id),
        links: span
            .links
            .iter()
            .map(|link| hex::encode(&link.trace_id))
            .collect(),
        attributes: span.attributes,
        events: span.events,
        status: span.status,
        start: span.start_time_unix_nano,
    })
}

fn attribute<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()? {
        AnyValue {
            value: Some(Value::StringValue(text)),
        } => Some(text),
        _ => None,
    }
}
