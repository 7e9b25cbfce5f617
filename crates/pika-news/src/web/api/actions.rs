//! What the buttons do, for programs.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};

use super::branch::{find, find_lane_run};
use crate::auth::{Action, Resource};
use crate::forge::RerunScope;
use crate::forge::id::LaneRunId;
use crate::forge::view::{BranchView, LaneRunDetail, Merged};
use crate::web::Web;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::Path;
use crate::web::viewer::{Viewer, must};

/// The head that the caller saw.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedHead {
    pub(super) expected_head: String,
}

/// What is run again.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rerun {
    /// Only what did not pass.
    #[serde(default)]
    failed: bool,
}

/// An attempt that was queued.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Queued {
    lane_run_id: LaneRunId,
}

/// Merges exactly the head that the caller saw.
#[utoipa::path(
    post, path = "/news/api/forge/branch/{id}/merge", tag = "branches",
    params(("id" = i64, Path, description = "The branch's number")),
    request_body = ExpectedHead,
    responses((status = 200, body = Merged))
)]
pub(super) async fn merge(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    body: Result<Json<ExpectedHead>, JsonRejection>,
) -> Result<Json<Merged>, ApiError> {
    let branch = find(&web, &viewer.principal, &id).await?;
    may_write(&viewer, &branch.row.repository)?;
    let Json(body) = body.map_err(|rejection| unreadable(&rejection))?;
    Ok(Json(
        web.forge()
            .merge(&branch.row.repository, branch.row.id, &body.expected_head, &viewer.user.name)
            .await?,
    ))
}

/// Closes a branch at the head that the caller saw.
#[utoipa::path(
    post, path = "/news/api/forge/branch/{id}/close", tag = "branches",
    params(("id" = i64, Path, description = "The branch's number")),
    request_body = ExpectedHead,
    responses((status = 200, body = BranchView))
)]
pub(super) async fn close(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    body: Result<Json<ExpectedHead>, JsonRejection>,
) -> Result<Json<BranchView>, ApiError> {
    let branch = find(&web, &viewer.principal, &id).await?;
    may_write(&viewer, &branch.row.repository)?;
    let Json(body) = body.map_err(|rejection| unreadable(&rejection))?;
    let (repository, id) = (&branch.row.repository, branch.row.id);
    web.forge().close(repository, id, &body.expected_head, &viewer.user.name).await?;
    Ok(Json(web.forge().branch(repository, id).await?))
}

/// Opens a closed branch again at the head that the caller saw.
#[utoipa::path(
    post, path = "/news/api/forge/branch/{id}/reopen", tag = "branches",
    params(("id" = i64, Path, description = "The branch's number")),
    request_body = ExpectedHead,
    responses((status = 200, body = BranchView))
)]
pub(super) async fn reopen(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    body: Result<Json<ExpectedHead>, JsonRejection>,
) -> Result<Json<BranchView>, ApiError> {
    let branch = find(&web, &viewer.principal, &id).await?;
    may_write(&viewer, &branch.row.repository)?;
    let Json(body) = body.map_err(|rejection| unreadable(&rejection))?;
    let (repository, id) = (&branch.row.repository, branch.row.id);
    web.forge().reopen(repository, id, &body.expected_head, &viewer.user.name).await?;
    Ok(Json(web.forge().branch(repository, id).await?))
}

/// Queues a further attempt at a lane; without a body everything is run.
#[utoipa::path(
    post, path = "/news/api/forge/lane-run/{id}/rerun", tag = "lanes",
    params(("id" = i64, Path, description = "The lane run's number")),
    request_body = Option<Rerun>,
    responses((status = 200, body = Queued))
)]
pub(super) async fn rerun(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    body: Result<Option<Json<Rerun>>, JsonRejection>,
) -> Result<Json<Queued>, ApiError> {
    let detail = find_lane_run(&web, &viewer.principal, &id).await?;
    may_write(&viewer, &detail.repository)?;
    let body = body.map_err(|rejection| unreadable(&rejection))?.map(|Json(body)| body).unwrap_or_default();
    let scope = if body.failed { RerunScope::Failed } else { RerunScope::All };
    let lane_run_id = web.forge().rerun(&detail.repository, detail.run.id, scope, &viewer.user.name).await?;
    Ok(Json(Queued { lane_run_id }))
}

/// Stops an attempt at a lane.
#[utoipa::path(
    post, path = "/news/api/forge/lane-run/{id}/cancel", tag = "lanes",
    params(("id" = i64, Path, description = "The lane run's number")),
    responses((status = 200, body = LaneRunDetail))
)]
pub(super) async fn cancel(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Json<LaneRunDetail>, ApiError> {
    let detail = find_lane_run(&web, &viewer.principal, &id).await?;
    may_write(&viewer, &detail.repository)?;
    web.forge().cancel(&detail.repository, detail.run.id, &viewer.user.name).await?;
    Ok(Json(web.forge().lane_run(&detail.repository, detail.run.id).await?))
}

pub(super) fn may_write(viewer: &Viewer, repository: &str) -> Result<(), WebError> {
    must(viewer, Action::Write, Resource::Repository(repository))
}

pub(super) fn unreadable(rejection: &JsonRejection) -> WebError {
    WebError::bad_request(format!("the body can't be read: {}", rejection.body_text()))
}
