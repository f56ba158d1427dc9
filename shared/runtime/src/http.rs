//! The HTTP port: `/healthz`, `/readyz`, `/metrics`.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use futures::future::join_all;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use maskline_foundation::Probe;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::HttpAddress,
    metrics::{self, QueueLengths},
};

/// A store or broker that does not answer a probe in this time counts as unreachable.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// How long the head of a request may take. A connection is kept as long for the next one.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// How many connections are open at a time. Each is a file that the stages can't open. If one more
/// comes, the oldest is closed, so that who opens many and asks nothing shuts out nobody.
const MAX_CONNECTIONS: usize = 64;

/// The wait after a connection could not be accepted, because the process has too many files open.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// A bound port, not yet served.
pub struct Port {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Port {
    /// Binds the port. `None` if it is switched off.
    pub async fn bind(address: HttpAddress) -> anyhow::Result<Option<Self>> {
        let HttpAddress::At(address) = address else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "can't listen on {address}: choose another address with --http, \
                 127.0.0.1:0 for a free port, or off"
            )
        })?;
        let address = listener
            .local_addr()
            .context("the bound port has no address")?;
        Ok(Some(Self { listener, address }))
    }

    /// Serves until `closing` is cancelled. Once `stopping` is cancelled, `/readyz` answers that
    /// the service is not ready.
    pub async fn serve(
        self,
        probes: Vec<Probe>,
        lengths: QueueLengths,
        stopping: CancellationToken,
        closing: CancellationToken,
    ) -> anyhow::Result<()> {
        let app = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .with_state(Arc::new(Readiness { probes, stopping }))
            .route("/metrics", get(serve_metrics).with_state(lengths));
        // axum's own server has no limits.
        let mut connections = Connections::default();
        loop {
            let accepted = tokio::select! {
                () = closing.cancelled() => return Ok(()),
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => connections.serve(stream, app.clone()),
                Err(error) if concerns_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "the HTTP port can't accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

/// The open connections, which end when this is dropped.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// The oldest first.
    open: VecDeque<AbortHandle>,
}

impl Connections {
    /// Serves a connection, in place of the oldest one if there are too many.
    fn serve(&mut self, stream: TcpStream, app: Router) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|connection| !connection.is_finished());
        if self.open.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.abort();
        }
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT);
        let service = TowerToHyperService::new(app);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let serving = self.tasks.spawn(async move {
            // Whoever asked has gone away, or asked nothing.
            let _ = connection.await;
        });
        self.open.push_back(serving);
    }
}

/// Returns whether an error of accepting is only about the connection that was to be accepted.
fn concerns_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

struct Readiness {
    probes: Vec<Probe>,
    stopping: CancellationToken,
}

async fn readyz(State(state): State<Arc<Readiness>>) -> impl IntoResponse {
    if state.stopping.is_cancelled() {
        let answer = json!({"ready": false, "stopping": true});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(answer));
    }
    let unreachable: BTreeMap<&str, String> = join_all(state.probes.iter().map(unreachable))
        .await
        .into_iter()
        .flatten()
        .collect();
    if unreachable.is_empty() {
        (StatusCode::OK, Json(json!({"ready": true})))
    } else {
        let answer = json!({"ready": false, "unreachable": unreachable});
        (StatusCode::SERVICE_UNAVAILABLE, Json(answer))
    }
}

async fn unreachable(probe: &Probe) -> Option<(&'static str, String)> {
    match tokio::time::timeout(PROBE_LIMIT, probe.check()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some((probe.name, format!("{error:#}"))),
        Err(_) => Some((probe.name, format!("no answer in {PROBE_LIMIT:?}"))),
    }
}

async fn serve_metrics(State(lengths): State<QueueLengths>) -> impl IntoResponse {
    lengths.measure().await;
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, metrics::render())
}
