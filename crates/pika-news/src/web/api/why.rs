//! Why a lane run did not pass, bounded, for people and programs.

use axum::Json;
use axum::extract::State;
use pikaci::why::Why;
use serde::Serialize;

use super::branch::find_lane_run;
use crate::forge::id::{BranchId, LaneRunId};
use crate::forge::state::{LaneRunStatus, LaneState};
use crate::forge::view::LaneRunDetail;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::Path;
use crate::web::viewer::Viewer;
use crate::web::{Web, runs};

/// Why a lane run did not pass.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct LaneRunWhy {
    lane_run_id: LaneRunId,
    repository: String,
    branch_id: BranchId,
    branch_name: String,
    head_oid: String,
    target: String,
    attempt: u32,
    status: LaneRunStatus,
    /// Where the lane stands by its latest attempt, which may be a later one.
    lane_state: LaneState,
    /// What `pikaci why` says of the run; absent while there is no run, and when its record is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    why: Option<Why>,
    /// The same for people, with what the forge itself knows.
    text: String,
}

/// Explains why an attempt at a lane did not pass: its first failing job and tests, the lines that matter, how to repeat it.
#[utoipa::path(
    get, path = "/news/api/forge/lane-run/{id}/why", tag = "lanes",
    params(("id" = i64, Path, description = "The lane run's number")),
    responses((status = 200, body = LaneRunWhy))
)]
pub(super) async fn show(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Json<LaneRunWhy>, ApiError> {
    let detail = find_lane_run(&web, &viewer.principal, &id).await?;
    let why = match detail.run.run_id.clone() {
        None => None,
        Some(run) => {
            let state = web.forge().state_root(&detail.repository)?;
            match runs::read(move || Ok(pikaci::explain(&state, &run)?)).await {
                Ok(why) => Some(why),
                // Named and not begun, or removed since: the forge's own knowledge is left.
                Err(WebError::NotFound(_)) => None,
                Err(error) => return Err(error.into()),
            }
        }
    };
    let text = text(&detail, why.as_ref());
    let LaneRunDetail { repository, branch_id, branch_name, head_oid, lane, run, .. } = detail;
    Ok(Json(LaneRunWhy {
        lane_run_id: run.id,
        repository,
        branch_id,
        branch_name,
        head_oid,
        target: lane.target,
        attempt: run.attempt,
        status: run.status,
        lane_state: lane.state,
        why,
        text,
    }))
}

fn text(detail: &LaneRunDetail, why: Option<&Why>) -> String {
    let LaneRunDetail { lane, run, branch_name, head_oid, .. } = detail;
    let outcome = run.outcome.as_ref().map_or_else(|| run.status.to_string(), ToString::to_string);
    let mut text = format!(
        "lane {} of branch {branch_name} at {}: {outcome} (lane run {}, attempt {})",
        lane.target,
        head_oid.get(..12).unwrap_or(head_oid),
        run.id,
        run.attempt
    );
    for note in [&run.waits, &run.message].into_iter().flatten() {
        text.push_str(&format!("\n  {}", note.replace('\n', "\n  ")));
    }
    match why {
        Some(why) => text.push_str(&format!("\n\n{why}")),
        None if run.status == LaneRunStatus::Finished => {
            text.push_str("\n\nits record is not there any more");
        }
        None => {}
    }
    text
}
