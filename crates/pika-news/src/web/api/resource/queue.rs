//! Attempts at lanes: of a repository, a branch, a lane, and those that wait or run.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::super::branch::find_lane_run;
use super::super::page::{Page, PageAnswer, PageQuery, Paged};
use super::branches::{find_lane, repository_of_branch};
use crate::auth::{Action, Resource};
use crate::forge::RunsOf;
use crate::forge::id::{BranchId, LaneId, LaneRunId};
use crate::forge::view::{LaneRunDetail, PlacedLaneRunView};
use crate::web::Web;
use crate::web::error::ApiError;
use crate::web::extract::{Path, Query};
use crate::web::viewer::{Viewer, must};

type Runs = PageAnswer<PlacedLaneRunView>;

/// Lists the attempts at a lane, the latest first.
#[utoipa::path(
    get, path = "/news/api/v1/lanes/{lane_id}/attempts", tag = "lanes",
    params(("lane_id" = i64, Path, description = "The lane's number"), PageQuery),
    responses((status = 200, body = Page<PlacedLaneRunView>))
)]
pub(super) async fn attempts(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<i64>,
    page: Paged,
) -> Result<Runs, ApiError> {
    let lane = find_lane(&web, &viewer, LaneId(id)).await?;
    read(&web, RunsOf::Lane(lane.id), page).await
}

/// Shows an attempt at a lane.
#[utoipa::path(
    get, path = "/news/api/v1/lane-runs/{lane_run_id}", tag = "lanes",
    params(("lane_run_id" = i64, Path, description = "Its number")),
    responses((status = 200, body = LaneRunDetail))
)]
pub(super) async fn lane_run(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<i64>,
) -> Result<Json<LaneRunDetail>, ApiError> {
    Ok(Json(find_lane_run(&web, &viewer.principal, &id.to_string()).await?))
}

/// Lists the attempts at lanes of a branch, of all its heads, the latest first.
#[utoipa::path(
    get, path = "/news/api/v1/branches/{branch_id}/runs", tag = "runs",
    params(("branch_id" = i64, Path, description = "The branch's number"), PageQuery),
    responses((status = 200, body = Page<PlacedLaneRunView>))
)]
pub(super) async fn runs_of_branch(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<i64>,
    page: Paged,
) -> Result<Runs, ApiError> {
    repository_of_branch(&web, &viewer, BranchId(id)).await?;
    read(&web, RunsOf::Branch(BranchId(id)), page).await
}

/// Lists the attempts at lanes of a repository, the latest first.
#[utoipa::path(
    get, path = "/news/api/v1/repositories/{repository}/runs", tag = "runs",
    params(("repository" = String, Path, description = "Its name"), PageQuery),
    responses((status = 200, body = Page<PlacedLaneRunView>))
)]
pub(super) async fn runs_of_repository(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
    page: Paged,
) -> Result<Runs, ApiError> {
    must(&viewer, Action::Read, Resource::Repository(&repository))?;
    read(&web, RunsOf::Repository(&repository), page).await
}

/// Of which repository something is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct QueueQuery {
    /// Only what is of this repository.
    repository: Option<String>,
}

/// Lists the lanes that wait or run, the oldest first; `waits` says why one waits.
#[utoipa::path(
    get, path = "/news/api/v1/queue", tag = "runs", params(QueueQuery, PageQuery),
    responses((status = 200, body = Page<PlacedLaneRunView>))
)]
pub(super) async fn queue(
    viewer: Viewer,
    State(web): State<Web>,
    Query(query): Query<QueueQuery>,
    page: Paged,
) -> Result<Runs, ApiError> {
    let names = wanted(&web, &viewer, &query)?;
    read(&web, RunsOf::Queue(&names), page).await
}

async fn read(web: &Web, of: RunsOf<'_>, page: Paged) -> Result<Runs, ApiError> {
    let after = page.after_number()?.map(LaneRunId);
    let rows = web.forge().lane_runs_after(of, after, page.rows()).await?;
    Ok(page.answer(rows, |row| row.run.id.to_string()))
}

/// The repositories that are meant, of those that the user may read.
pub(super) fn wanted(web: &Web, viewer: &Viewer, query: &QueueQuery) -> Result<Vec<String>, ApiError> {
    if let Some(repository) = &query.repository {
        must(viewer, Action::Read, Resource::Repository(repository))?;
        web.forge().hosted(repository)?;
    }
    let is_wanted = |name: &String| {
        query.repository.as_ref().is_none_or(|wanted| wanted == name) && viewer.principal.can_read(name)
    };
    Ok(web.forge().repository_names().into_iter().filter(is_wanted).collect())
}
