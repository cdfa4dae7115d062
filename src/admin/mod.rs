//! The HTTP listener for probes and people: /livez, /readyz, /health.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::docker::Reach;
use crate::hub::Registry;
use crate::supervisor::Supervisor;

#[derive(Debug, Clone)]
struct Facts {
    registry: Arc<Registry>,
    supervisor: Supervisor,
    draining: CancellationToken,
}

impl Facts {
    fn is_ready(&self) -> bool {
        self.registry.is_ready() && self.supervisor.is_alive() && !self.draining.is_cancelled()
    }
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    supervisor: Supervisor,
    draining: CancellationToken,
    stop: CancellationToken,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
        .with_state(Facts {
            registry,
            supervisor,
            draining,
        });
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn livez(State(facts): State<Facts>) -> (StatusCode, &'static str) {
    match facts.supervisor.is_alive() {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "a runtime is stuck\n"),
    }
}

async fn readyz(State(facts): State<Facts>) -> (StatusCode, &'static str) {
    match facts.is_ready() {
        true => (StatusCode::OK, "ok\n"),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready; /health says why\n",
        ),
    }
}

async fn health(State(facts): State<Facts>) -> (StatusCode, Json<Value>) {
    let ready = facts.is_ready();
    let inventory = facts.registry.inventory();
    let cause = match &*facts.registry.reach().borrow() {
        Reach::Here => None,
        Reach::Away(cause) => Some(cause.clone()),
    };
    let engine = inventory.engine.as_ref().map(|engine| {
        json!({
            "kind": engine.kind,
            "version": engine.version,
            "api_version": engine.api_version,
        })
    });
    let running = inventory
        .containers
        .values()
        .filter(|c| c.is_running())
        .count();
    let body = json!({
        "status": if ready { "ready" } else { "not_ready" },
        "version": env!("CARGO_PKG_VERSION"),
        "draining": facts.draining.is_cancelled(),
        "engine": { "reachable": cause.is_none(), "cause": cause, "identity": engine },
        "containers": { "total": inventory.containers.len(), "running": running },
        "open_logs": facts.registry.open_logs(),
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body))
}
