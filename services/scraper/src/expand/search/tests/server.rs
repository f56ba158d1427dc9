//! A local server that answers by a function of the request, and keeps what it was asked.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;
use tokio::{net::TcpListener, task::AbortHandle};
use url::form_urlencoded;

/// A request as the server got it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) form: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) at: Instant,
}

impl Asked {
    /// The number in a parameter, or else `usual`.
    pub(super) fn number(&self, name: &str, usual: u64) -> u64 {
        let text = self.query.get(name);
        text.map_or(usual, |text| text.parse().expect("a number"))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What the server answers.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(body: Value) -> Self {
        Self::status(200, body)
    }

    pub(super) fn status(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string(),
        }
    }

    pub(super) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

type Handle = dyn Fn(&Asked) -> Answer + Send + Sync;

/// The server, until it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: AbortHandle,
}

struct Shared {
    handle: Box<Handle>,
    asked: Mutex<Vec<Asked>>,
}

impl Server {
    pub(super) async fn start(handle: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("the port is bound");
        let shared = Arc::new(Shared {
            handle: Box::new(handle),
            asked: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            shared,
            serving: serving.abort_handle(),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// All requests until now, in the order in which they came.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let fields = |encoded: &[u8]| form_urlencoded::parse(encoded).into_owned().collect();
    let asked = Asked {
        path: head.uri.path().to_owned(),
        query: fields(head.uri.query().unwrap_or_default().as_bytes()),
        form: fields(&body),
        headers: head.headers,
        at: Instant::now(),
    };
    let answer = (shared.handle)(&asked);
    shared.asked.lock().push(asked);
    let mut response = answer.body.into_response();
    *response.status_mut() = answer.status.try_into().expect("a status");
    for (name, value) in answer.headers {
        let name = HeaderName::from_static(name);
        response
            .headers_mut()
            .insert(name, value.parse().expect("a header's value"));
    }
    response
}
