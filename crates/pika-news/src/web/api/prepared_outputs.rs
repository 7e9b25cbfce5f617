//! `GET /news/api/forge/pikaci/prepared-outputs/{run_id}`

use axum::Json;
use axum::extract::State;
use pikaci::{PreparedOutputsRecord, RunId};
use serde::{Deserialize, Serialize};

use crate::web::error::ApiError;
use crate::web::extract::Path;
use crate::web::viewer::Viewer;
use crate::web::{Web, runs};

/// What was prepared for a run; `null` when nothing was.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct PreparedOutputsResponse {
    #[schema(value_type = String)]
    pub(super) run_id: RunId,
    #[schema(value_type = Option<Object>)]
    pub(super) prepared_outputs: Option<PreparedOutputsRecord>,
}

/// Returns what was prepared for a run.
#[utoipa::path(
    get, path = "/news/api/forge/pikaci/prepared-outputs/{run_id}", tag = "runs",
    params(("run_id" = String, Path, description = "The run of pikaci")),
    responses((status = 200, body = PreparedOutputsResponse))
)]
pub(super) async fn show(
    viewer: Viewer,
    State(web): State<Web>,
    Path(run): Path<String>,
) -> Result<Json<PreparedOutputsResponse>, ApiError> {
    let found = runs::find(&web, &viewer.principal, &run).await?;
    let response = runs::read(move || {
        let prepared_outputs = pikaci::load_prepared_outputs_record(&found.state, &found.run)?;
        Ok(PreparedOutputsResponse { run_id: found.run, prepared_outputs })
    });
    Ok(Json(response.await?))
}
