//! The HTTP port: `/healthz`, `/readyz`, `/metrics`.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use futures::future::join_all;
use maskline_foundation::Probe;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    config::HttpAddress,
    metrics::{self, QueueLengths},
};

/// A store or broker that does not answer a probe in this time counts as unreachable.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

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
        tokio::select! {
            // axum's graceful shutdown is not used: it would wait for idle connections.
            () = closing.cancelled() => Ok(()),
            served = axum::serve(self.listener, app).into_future() => {
                served.context("the HTTP port failed")
            }
        }
    }
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
