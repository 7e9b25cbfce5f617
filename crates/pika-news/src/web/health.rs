//! For those who watch the forge: is it alive, can it work, what does it measure.
//!
//! Invariants: none of it names a repository, a path or a user; `/healthz` and `/readyz` are for everybody, the figures for
//! administrators, or for whoever reaches the listener that the configuration names for them.

use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::Web;
use super::error::ApiError;
use super::viewer::{Viewer, must};
use crate::auth::{Action, Resource};
use crate::forge::{Forge, Stage};
use crate::metrics;

/// How long a request waits for the forge to start.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// The routes beside the others.
pub(super) fn router() -> Router<Web> {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(async |State(web): State<Web>| readiness(web.forge()).await))
        .route("/metrics", get(figures))
}

/// The same without authentication, for a listener of their own.
pub fn own_router(forge: Forge) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(async |State(forge): State<Forge>| readiness(&forge).await))
        .route("/metrics", get(async |State(forge): State<Forge>| rendered(&forge).await))
        .with_state(forge)
}

/// Lets requests wait until the forge has started, though not for ever. Whether it is there and what it does is told at once.
pub fn after_start(router: Router, forge: Forge) -> Router {
    router.layer(from_fn_with_state(forge, wait_for_start))
}

async fn wait_for_start(State(forge): State<Forge>, request: Request, next: Next) -> Response {
    if !["/healthz", "/readyz", "/metrics"].contains(&request.uri().path()) {
        let mut stage = forge.stage().subscribe();
        let started = stage.wait_for(|stage| *stage == Stage::Started);
        if !matches!(tokio::time::timeout(START_PATIENCE, started).await, Ok(Ok(_))) {
            let words = "the forge takes up what an earlier one has left; try again soon\n";
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], words).into_response();
        }
    }
    next.run(request).await
}

async fn readiness(forge: &Forge) -> Response {
    let readiness = forge.readiness().await;
    let status = if readiness.status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

async fn figures(viewer: Viewer, State(web): State<Web>) -> Result<Response, ApiError> {
    must(&viewer, Action::Administer, Resource::Forge)?;
    Ok(rendered(web.forge()).await)
}

async fn rendered(forge: &Forge) -> Response {
    match forge.health().await {
        Ok(health) => metrics::set_health(&health),
        // The other figures are as good as they were.
        Err(error) => tracing::warn!(%error, "the forge's health could not be read for its figures"),
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::render()).into_response()
}
