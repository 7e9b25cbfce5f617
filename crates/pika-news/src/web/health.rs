//! For those who watch the forge: is it alive, can it work, what does it measure.
//!
//! Invariants: none of it names a repository, a path or a user; `/healthz` and `/readyz` are for everybody, the figures for
//! administrators, or for whoever reaches the listener that the configuration names for them.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::Web;
use super::error::ApiError;
use super::viewer::{Viewer, must};
use crate::auth::{Action, Resource};
use crate::forge::Forge;
use crate::metrics;

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
