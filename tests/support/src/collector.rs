//! A receiver of traces by OTLP over HTTP, in place of a collector.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::{net::TcpListener, task::AbortHandle};

use crate::span::{Span, of_resource};

/// Receives spans on a port of loopback until it is dropped.
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    serving: AbortHandle,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("the port is bound");
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

    /// The address for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that have arrived whose names begin with `prefix`.
    pub fn named(&self, prefix: &str) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let named = spans.iter().filter(|span| span.name.starts_with(prefix));
        named.cloned().collect()
    }

    /// The spans of one trace that have arrived, in the order in which they started.
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
