//! `GET /news/api/forge/queue?repository=&after=&limit=`: the lane runs that wait and that run, and why each waits.

use axum::Json;
use axum::extract::State;
use pikaci::RunId;
use serde::{Deserialize, Serialize};

use crate::auth::{Action, Resource};
use crate::forge::id::{BranchId, LaneRunId};
use crate::forge::state::LaneRunStatus;
use crate::store::UnfinishedLaneRun;
use crate::web::Web;
use crate::web::error::ApiError;
use crate::web::extract::Query;
use crate::web::viewer::{Viewer, allow};

const ROWS_DEFAULT: u32 = 50;
const ROWS_MAX: u32 = 200;

/// Which lane runs are wanted.
#[derive(Debug, Deserialize)]
pub(super) struct QueueQuery {
    repository: Option<String>,
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

/// Lane runs that are not finished, the oldest first.
#[derive(Debug, Serialize)]
pub(super) struct Queue {
    items: Vec<QueueRow>,
    /// What to send as `after` for those that follow; absent when there are none.
    next: Option<LaneRunId>,
}

#[derive(Debug, Serialize)]
struct QueueRow {
    lane_run_id: LaneRunId,
    repository: String,
    branch_id: BranchId,
    branch_name: String,
    head_oid: String,
    target: String,
    title: String,
    is_required: bool,
    attempt: u32,
    status: LaneRunStatus,
    waits: Option<String>,
    run_id: Option<RunId>,
    queued_at_ms: i64,
    started_at_ms: Option<i64>,
}

/// Lists the queue of the repositories that the caller may read.
pub(super) async fn show(
    viewer: Viewer,
    State(web): State<Web>,
    Query(query): Query<QueueQuery>,
) -> Result<Json<Queue>, ApiError> {
    if let Some(name) = &query.repository {
        allow(&viewer.principal, Action::Read, Resource::Repository(name))?;
    }
    let names = web.forge().repository_names().filter(|name| {
        viewer.principal.can_read(name) && query.repository.as_deref().is_none_or(|wanted| wanted == *name)
    });
    let limit = query.limit.unwrap_or(ROWS_DEFAULT).clamp(1, ROWS_MAX);
    let mut rows = web.forge().unfinished(names, LaneRunId(query.after), limit + 1).await?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().map(|(_, run)| run.id).filter(|_| has_more);
    Ok(Json(Queue { items: rows.into_iter().map(|(repository, run)| row(repository, run)).collect(), next }))
}

fn row(repository: String, run: UnfinishedLaneRun) -> QueueRow {
    QueueRow {
        lane_run_id: run.id,
        repository,
        branch_id: run.branch_id,
        branch_name: run.branch_name,
        head_oid: run.head_oid,
        target: run.target,
        title: run.title,
        is_required: run.is_required,
        attempt: run.attempt,
        status: run.status,
        waits: run.waits,
        run_id: run.run_id,
        queued_at_ms: run.queued_at_ms,
        started_at_ms: run.started_at_ms,
    }
}
