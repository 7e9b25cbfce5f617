//! Repositories, branches, heads and lanes.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::super::page::{Page, PageAnswer, PageQuery, Paged};
use crate::auth::{Action, Resource};
use crate::forge::id::{BranchId, HeadId, LaneId};
use crate::forge::state::BranchState;
use crate::forge::view::{BranchRow, BranchView, HeadSummary, LaneSummary, RepositoryRow, RepositoryView};
use crate::web::Web;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::{Path, Query};
use crate::web::viewer::{Viewer, must};

/// Lists the repositories that whoever asks may read, by name.
#[utoipa::path(
    get, path = "/news/api/v1/repositories", tag = "repositories", params(PageQuery),
    responses((status = 200, body = Page<RepositoryRow>))
)]
pub(super) async fn repositories(
    viewer: Viewer,
    State(web): State<Web>,
    page: Paged,
) -> Result<PageAnswer<RepositoryRow>, ApiError> {
    let is_wanted = |name: &String| {
        page.after().is_none_or(|after| name.as_str() > after) && viewer.principal.can_read(name)
    };
    let mut rows = Vec::new();
    for name in
        web.forge().repository_names().iter().filter(|name| is_wanted(name)).take(page.rows() as usize)
    {
        rows.push(web.forge().repository_row(name).await?);
    }
    Ok(page.answer(rows, |row| row.name.clone()))
}

/// Shows a repository.
#[utoipa::path(
    get, path = "/news/api/v1/repositories/{repository}", tag = "repositories",
    params(("repository" = String, Path, description = "Its name")),
    responses((status = 200, body = RepositoryView))
)]
pub(super) async fn repository(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
) -> Result<Json<RepositoryView>, ApiError> {
    must(&viewer, Action::Read, Resource::Repository(&repository))?;
    Ok(Json(web.forge().repository(&repository).await?))
}

/// Which branches are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct BranchesQuery {
    /// Only those in this state.
    #[param(value_type = Option<BranchState>)]
    state: Option<String>,
}

/// Lists the branches of a repository, the latest change first.
#[utoipa::path(
    get, path = "/news/api/v1/repositories/{repository}/branches", tag = "branches",
    params(("repository" = String, Path, description = "Its name"), BranchesQuery, PageQuery),
    responses((status = 200, body = Page<BranchRow>))
)]
pub(super) async fn branches(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
    Query(query): Query<BranchesQuery>,
    page: Paged,
) -> Result<PageAnswer<BranchRow>, ApiError> {
    must(&viewer, Action::Read, Resource::Repository(&repository))?;
    let unknown = || WebError::bad_request("`state` is `open`, `merged`, `closed` or `deleted`");
    let state =
        query.state.as_deref().map(|text| BranchState::parse(text).ok_or_else(unknown)).transpose()?;
    let rows = web.forge().branches_after(&repository, state, page.after_numbers()?, page.rows()).await?;
    Ok(page.answer(rows, |row| format!("{}.{}", row.updated_at_ms, row.id)))
}

/// Shows a branch with its head.
#[utoipa::path(
    get, path = "/news/api/v1/branches/{branch_id}", tag = "branches",
    params(("branch_id" = i64, Path, description = "Its number")),
    responses((status = 200, body = BranchView))
)]
pub(super) async fn branch(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<i64>,
) -> Result<Json<BranchView>, ApiError> {
    let repository = repository_of_branch(&web, &viewer, BranchId(id)).await?;
    Ok(Json(web.forge().branch(&repository, BranchId(id)).await?))
}

/// Lists the heads of a branch, the latest first.
#[utoipa::path(
    get, path = "/news/api/v1/branches/{branch_id}/heads", tag = "branches",
    params(("branch_id" = i64, Path, description = "The branch's number"), PageQuery),
    responses((status = 200, body = Page<HeadSummary>))
)]
pub(super) async fn heads(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<i64>,
    page: Paged,
) -> Result<PageAnswer<HeadSummary>, ApiError> {
    let repository = repository_of_branch(&web, &viewer, BranchId(id)).await?;
    let rows = web.forge().heads_after(&repository, BranchId(id), page.after_number()?, page.rows()).await?;
    Ok(page.answer(rows, |row| row.id.to_string()))
}

/// Shows a head of a branch.
#[utoipa::path(
    get, path = "/news/api/v1/heads/{head_id}", tag = "branches",
    params(("head_id" = i64, Path, description = "Its number")),
    responses((status = 200, body = HeadSummary))
)]
pub(super) async fn head(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<i64>,
) -> Result<Json<HeadSummary>, ApiError> {
    Ok(Json(find_head(&web, &viewer, HeadId(id)).await?))
}

/// Lists the lanes of a head, in the manifest's order.
#[utoipa::path(
    get, path = "/news/api/v1/heads/{head_id}/lanes", tag = "lanes",
    params(("head_id" = i64, Path, description = "The head's number"), PageQuery),
    responses((status = 200, body = Page<LaneSummary>))
)]
pub(super) async fn lanes(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<i64>,
    page: Paged,
) -> Result<PageAnswer<LaneSummary>, ApiError> {
    let head = find_head(&web, &viewer, HeadId(id)).await?;
    let after = page.after_number()?.unwrap_or(0);
    let rows = web.forge().lanes_after(head.id, after, page.rows()).await?;
    Ok(page.answer(rows, |row| row.id.to_string()))
}

/// Shows a lane of a head.
#[utoipa::path(
    get, path = "/news/api/v1/lanes/{lane_id}", tag = "lanes",
    params(("lane_id" = i64, Path, description = "Its number")),
    responses((status = 200, body = LaneSummary))
)]
pub(super) async fn lane(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<i64>,
) -> Result<Json<LaneSummary>, ApiError> {
    Ok(Json(find_lane(&web, &viewer, LaneId(id)).await?))
}

/// Finds the repository of a branch that the user may read.
pub(super) async fn repository_of_branch(
    web: &Web,
    viewer: &Viewer,
    id: BranchId,
) -> Result<String, WebError> {
    let repository = web.forge().repository_of_branch(id).await?;
    if !viewer.principal.can_read(&repository) {
        return Err(WebError::NotFound("there is no such branch".to_owned()));
    }
    Ok(repository)
}

async fn find_head(web: &Web, viewer: &Viewer, id: HeadId) -> Result<HeadSummary, WebError> {
    let head = web.forge().head(id).await?;
    if !viewer.principal.can_read(&head.repository) {
        return Err(WebError::NotFound("there is no such head".to_owned()));
    }
    Ok(head)
}

/// Finds a lane that the user may read.
pub(super) async fn find_lane(web: &Web, viewer: &Viewer, id: LaneId) -> Result<LaneSummary, WebError> {
    let lane = web.forge().lane(id).await?;
    match find_head(web, viewer, lane.head_id).await {
        Err(WebError::NotFound(_)) => Err(WebError::NotFound("there is no such lane".to_owned())),
        found => found.map(|_| lane),
    }
}
