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
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PreparedOutputsResponse {
    pub(super) run_id: RunId,
    pub(super) prepared_outputs: Option<PreparedOutputsRecord>,
}

/// Returns what was prepared for a run.
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
