//! `GET /news/api/forge/pikaci/run/{run_id}`

use axum::Json;
use axum::extract::State;
use pikaci::RunRecord;

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
) -> Result<Json<RunRecord>, ApiError> {
    let found = runs::find(&web, &viewer.principal, &run).await?;
    Ok(Json(runs::read(move || Ok(pikaci::load_run_record(&found.state, &found.run)?)).await?))
}
