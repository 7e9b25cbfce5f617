//! What the forge knows of repositories, branches and lane runs, as JSON.

use axum::Json;
use axum::extract::State;
use pikaci::{PreparedOutputsRecord, RunId, RunLogsMetadata, RunRecord};
use serde::{Deserialize, Serialize};

use crate::auth::{Action, Principal, Resource};
use crate::forge::id::{BranchId, LaneRunId};
use crate::forge::state::BranchState;
use crate::forge::view::{
    BranchFilter, BranchList, BranchView, LaneRunDetail, LaneRunView, LaneView, RepositoryRow,
};
use crate::web::error::{ApiError, WebError};
use crate::web::extract::{Path, Query};
use crate::web::viewer::{Viewer, allow};
use crate::web::{Web, runs};

const BRANCHES_DEFAULT: u32 = 50;
const BRANCHES_MAX: u32 = 200;

/// Lists the repositories that whoever asks may read.
#[utoipa::path(
    get, path = "/news/api/forge/repositories", tag = "repositories",
    responses((status = 200, body = Vec<RepositoryRow>))
)]
pub(super) async fn repositories(
    viewer: Viewer,
    State(web): State<Web>,
) -> Result<Json<Vec<RepositoryRow>>, ApiError> {
    let rows = web.forge().repositories().await?;
    Ok(Json(rows.into_iter().filter(|row| viewer.principal.can_read(&row.name)).collect()))
}

/// Which branches are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct BranchesQuery {
    state: Option<String>,
    /// The one of this name alone.
    name: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    offset: u32,
}

/// Lists branches of a repository, the default branch first, then the latest change first.
#[utoipa::path(
    get, path = "/news/api/forge/repository/{name}/branches", tag = "branches",
    params(("name" = String, Path, description = "The repository's name"), BranchesQuery),
    responses((status = 200, body = BranchList))
)]
pub(super) async fn list(
    viewer: Viewer,
    State(web): State<Web>,
    Path(name): Path<String>,
    Query(query): Query<BranchesQuery>,
) -> Result<Json<BranchList>, ApiError> {
    allow(&viewer.principal, Action::Read, Resource::Repository(&name))?;
    let unknown = || WebError::bad_request("`state` is `open`, `merged`, `closed` or `deleted`");
    let state =
        query.state.as_deref().map(|text| BranchState::parse(text).ok_or_else(unknown)).transpose()?;
    if let Some(branch) = &query.name {
        let row = web.forge().branch_named(&name, branch).await?;
        let rows = row.into_iter().filter(|row| state.is_none_or(|state| row.state == state)).collect();
        return Ok(Json(BranchList { rows, has_more: false }));
    }
    let limit = query.limit.unwrap_or(BRANCHES_DEFAULT).min(BRANCHES_MAX);
    Ok(Json(web.forge().branches(&name, BranchFilter { state, limit, offset: query.offset }).await?))
}

/// Shows a branch with its head.
#[utoipa::path(
    get, path = "/news/api/forge/branch/{id}", tag = "branches",
    params(("id" = i64, Path, description = "The branch's number")),
    responses((status = 200, body = BranchView))
)]
pub(super) async fn show(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Json<BranchView>, ApiError> {
    Ok(Json(find(&web, &viewer.principal, &id).await?))
}

/// Shows an attempt at a lane.
#[utoipa::path(
    get, path = "/news/api/forge/lane-run/{id}", tag = "lanes",
    params(("id" = i64, Path, description = "The lane run's number")),
    responses((status = 200, body = LaneRunDetail))
)]
pub(super) async fn lane_run(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Json<LaneRunDetail>, ApiError> {
    Ok(Json(find_lane_run(&web, &viewer.principal, &id).await?))
}

/// Which lane run is meant; without either the first lane's latest.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    lane: Option<String>,
    lane_run_id: Option<String>,
}

/// What is known of a lane's run without reading a log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ForgeBranchLogsResponse {
    branch_id: BranchId,
    branch_name: String,
    /// When the head that the lane tests was pushed; the branch's head when there is no lane.
    pushed_at_ms: Option<i64>,
    #[schema(value_type = Option<String>)]
    run_id: Option<RunId>,
    lane: Option<ForgeLane>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pikaci_run: Option<RunRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pikaci_log_metadata: Option<RunLogsMetadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pikaci_prepared_outputs: Option<PreparedOutputsRecord>,
}

/// A lane, seen from one of its attempts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ForgeLane {
    #[serde(flatten)]
    lane: LaneView,
    lane_run: Option<LaneRunView>,
    status: Option<String>,
}

/// Shows what is known of a lane's run without reading a log.
#[utoipa::path(
    get, path = "/news/api/forge/branch/{id}/logs", tag = "runs",
    params(("id" = i64, Path, description = "The branch's number"), LogsQuery),
    responses((status = 200, body = ForgeBranchLogsResponse))
)]
pub(super) async fn logs(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Json<ForgeBranchLogsResponse>, ApiError> {
    let branch = find(&web, &viewer.principal, &id).await?;
    let found = find_lane(&web, &viewer.principal, &branch, &query).await?;
    let head_oid = found.as_ref().map_or(&branch.head.oid, |found| &found.head_oid);
    let pushed_at_ms = pushed_at_ms(&branch, head_oid);
    let (lane, lane_run) = found.map_or((None, None), |found| (Some(found.lane), found.run));
    let run_id = lane_run.as_ref().and_then(|run| run.run_id.clone());
    let bundle = match &run_id {
        Some(run) => {
            let (state, run) = (web.forge().state_root(&branch.row.repository)?, run.clone());
            // A run that was named but not begun, or was removed, leaves the forge's own knowledge to show.
            runs::read(move || Ok(pikaci::load_run_bundle(&state, &run)?)).await.ok()
        }
        None => None,
    };
    let (pikaci_run, pikaci_log_metadata, pikaci_prepared_outputs) = match bundle {
        Some(bundle) => (Some(bundle.record), Some(bundle.logs), bundle.prepared_outputs),
        None => (None, None, None),
    };
    let status = lane_run.as_ref().map(|run| run.status.to_string());
    Ok(Json(ForgeBranchLogsResponse {
        branch_id: branch.row.id,
        branch_name: branch.row.name,
        pushed_at_ms,
        run_id,
        lane: lane.map(|lane| ForgeLane { lane, lane_run, status }),
        pikaci_run,
        pikaci_log_metadata,
        pikaci_prepared_outputs,
    }))
}

struct FoundLane {
    lane: LaneView,
    run: Option<LaneRunView>,
    /// The commit that the lane tests.
    head_oid: String,
}

/// When a head was pushed; `None` when it is older than those that a branch shows.
fn pushed_at_ms(branch: &BranchView, oid: &str) -> Option<i64> {
    if branch.head.oid == oid {
        return Some(branch.head.pushed_at_ms);
    }
    branch.earlier_heads.iter().find(|head| head.oid == oid).map(|head| head.pushed_at_ms)
}

async fn find_lane(
    web: &Web,
    principal: &Principal,
    branch: &BranchView,
    query: &LogsQuery,
) -> Result<Option<FoundLane>, WebError> {
    if let Some(id) = &query.lane_run_id {
        let detail = find_lane_run(web, principal, id).await?;
        let is_meant = detail.branch_id == branch.row.id
            && query.lane.as_ref().is_none_or(|lane| *lane == detail.lane.target);
        if !is_meant {
            return Err(WebError::NotFound("this branch has no such lane run".to_owned()));
        }
        let LaneRunDetail { lane, run, head_oid, .. } = detail;
        return Ok(Some(FoundLane { lane, run: Some(run), head_oid }));
    }
    let lanes = &branch.head.lanes;
    let lane = match &query.lane {
        Some(name) => {
            let missing = || WebError::NotFound(format!("the head of this branch has no lane {name:?}"));
            Some(lanes.iter().find(|lane| lane.target == *name).ok_or_else(missing)?)
        }
        None => lanes.iter().find(|lane| !lane.attempts.is_empty()).or(lanes.first()),
    };
    Ok(lane.map(|lane| FoundLane {
        lane: lane.clone(),
        run: lane.attempts.first().cloned(),
        head_oid: branch.head.oid.clone(),
    }))
}

/// Finds a branch that the user may read.
pub(super) async fn find(web: &Web, principal: &Principal, id: &str) -> Result<BranchView, WebError> {
    let missing = || WebError::NotFound("there is no such branch".to_owned());
    let id: BranchId = id.parse().map_err(|_| missing())?;
    let repository = web.forge().repository_of_branch(id).await?;
    if !principal.can_read(&repository) {
        return Err(missing());
    }
    Ok(web.forge().branch(&repository, id).await?)
}

/// Finds a lane run that the user may read.
pub(super) async fn find_lane_run(
    web: &Web,
    principal: &Principal,
    id: &str,
) -> Result<LaneRunDetail, WebError> {
    let missing = || WebError::NotFound("there is no such lane run".to_owned());
    let id: LaneRunId = id.parse().map_err(|_| missing())?;
    for repository in web.forge().repository_names().iter().filter(|name| principal.can_read(name)) {
        match web.forge().lane_run(repository, id).await {
            Err(error) if error.is_not_found() => {}
            found => return Ok(found?),
        }
    }
    Err(missing())
}
