//! `GET /news/api/forge/pikaci/run/{run_id}`

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use crate::web::error::ApiError;
use crate::web::extract::Path;
use crate::web::viewer::Viewer;
use crate::web::{Web, runs};

/// Returns the full record of a run.
#[utoipa::path(
    get, path = "/news/api/forge/pikaci/run/{run_id}", tag = "runs",
    params(("run_id" = String, Path, description = "The run of pikaci")),
    responses((status = 200, description = "The record, as docs/formats/state-root.md says", body = Object))
)]
pub(super) async fn show(
    viewer: Viewer,
    State(web): State<Web>,
    Path(run): Path<String>,
) -> Result<Response, ApiError> {
    let found = runs::find(&web, &viewer.principal, &run).await?;
    let json: Bytes = match web.records().find(&found) {
        Some(kept) => kept,
        None => {
            let loader = web.clone();
            runs::read(move || loader.records().load(&found)).await?
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}
