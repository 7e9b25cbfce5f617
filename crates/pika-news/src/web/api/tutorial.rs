//! The tutorial of a branch's head, as JSON: whole, its steps, its coverage, where it stands, and what changed since.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use pika_tutorial::{Coverage, Explained, HunkId, Step};
use serde::{Deserialize, Serialize};

use super::actions::{ExpectedHead, may_write, unreadable};
use super::branch::find;
use crate::forge::id::BranchId;
use crate::forge::tutorial::{ExplainedHead, TutorialState};
use crate::forge::view::BranchView;
use crate::web::Web;
use crate::web::error::ApiError;
use crate::web::extract::{Path, Query};
use crate::web::viewer::Viewer;

/// Which head; without one the branch's own.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HeadQuery {
    head: Option<String>,
}

/// A tutorial and where it stands.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct TutorialAnswer {
    state: TutorialState,
    #[schema(value_type = Object)]
    tutorial: Explained,
}

/// The steps of a tutorial, as one reader has them.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct StepsAnswer {
    branch_id: BranchId,
    head: String,
    steps: Vec<StepAnswer>,
}

/// A step, and whether its reader is done with it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct StepAnswer {
    /// Names it when it is ticked off.
    key: String,
    is_ticked: bool,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    step: Step,
}

/// Which hunks the steps show.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct CoverageAnswer {
    branch_id: BranchId,
    head: String,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    coverage: Coverage,
}

/// Shows the tutorial of a head.
#[utoipa::path(
    get, path = "/news/api/forge/branch/{id}/tutorial", tag = "tutorials",
    params(("id" = i64, Path, description = "The branch's number"), HeadQuery),
    responses((status = 200, body = TutorialAnswer))
)]
pub(super) async fn show(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<HeadQuery>,
) -> Result<Json<TutorialAnswer>, ApiError> {
    let (_, found) = explained(&web, &viewer, &id, query).await?;
    Ok(Json(TutorialAnswer { state: found.state, tutorial: found.explained.as_ref().clone() }))
}

/// Lists the steps of a tutorial, and which of them the reader ticked off.
#[utoipa::path(
    get, path = "/news/api/forge/branch/{id}/tutorial/steps", tag = "tutorials",
    params(("id" = i64, Path, description = "The branch's number"), HeadQuery),
    responses((status = 200, body = StepsAnswer))
)]
pub(super) async fn steps(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<HeadQuery>,
) -> Result<Json<StepsAnswer>, ApiError> {
    let (branch, found) = explained(&web, &viewer, &id, query).await?;
    let ticked = web.forge().ticks(viewer.user.id, branch.row.id).await?;
    let answer = |step: &Step| {
        let key = step.key();
        StepAnswer { is_ticked: ticked.contains(&key), key, step: step.clone() }
    };
    let steps = found.explained.tutorial.steps.iter().map(answer).collect();
    Ok(Json(StepsAnswer { branch_id: branch.row.id, head: found.state.head, steps }))
}

/// Shows which hunks the steps of a tutorial explain.
#[utoipa::path(
    get, path = "/news/api/forge/branch/{id}/tutorial/coverage", tag = "tutorials",
    params(("id" = i64, Path, description = "The branch's number"), HeadQuery),
    responses((status = 200, body = CoverageAnswer))
)]
pub(super) async fn coverage(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<HeadQuery>,
) -> Result<Json<CoverageAnswer>, ApiError> {
    let (branch, found) = explained(&web, &viewer, &id, query).await?;
    let coverage = found.coverage().clone();
    Ok(Json(CoverageAnswer { branch_id: branch.row.id, head: found.state.head, coverage }))
}

/// Shows where a tutorial stands.
#[utoipa::path(
    get, path = "/news/api/forge/branch/{id}/tutorial/state", tag = "tutorials",
    params(("id" = i64, Path, description = "The branch's number"), HeadQuery),
    responses((status = 200, body = TutorialState))
)]
pub(super) async fn state(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<HeadQuery>,
) -> Result<Json<TutorialState>, ApiError> {
    let (_, found) = explained(&web, &viewer, &id, query).await?;
    Ok(Json(found.state))
}

/// Has a tutorial written again.
#[utoipa::path(
    post, path = "/news/api/forge/branch/{id}/tutorial/retry", tag = "tutorials",
    params(("id" = i64, Path, description = "The branch's number")),
    request_body = ExpectedHead,
    responses((status = 200, body = TutorialState))
)]
pub(super) async fn retry(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    body: Result<Json<ExpectedHead>, JsonRejection>,
) -> Result<Json<TutorialState>, ApiError> {
    let branch = find(&web, &viewer.principal, &id).await?;
    may_write(&viewer, &branch.row.repository)?;
    let Json(body) = body.map_err(|rejection| unreadable(&rejection))?;
    let (repository, id) = (&branch.row.repository, branch.row.id);
    web.forge().retry_tutorial(repository, id, &body.expected_head, &viewer.user.name).await?;
    Ok(Json(web.forge().explained(repository, id, &body.expected_head).await?.state))
}

/// A step that a reader is done with, or not.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tick {
    step: String,
    is_ticked: bool,
}

/// What is stored of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Ticked {
    step: String,
    is_ticked: bool,
}

/// Ticks a step off, or takes that back.
#[utoipa::path(
    post, path = "/news/api/forge/branch/{id}/tutorial/tick", tag = "tutorials",
    params(("id" = i64, Path, description = "The branch's number")),
    request_body = Tick,
    responses((status = 200, body = Ticked))
)]
pub(super) async fn tick(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    body: Result<Json<Tick>, JsonRejection>,
) -> Result<Json<Ticked>, ApiError> {
    let branch = find(&web, &viewer.principal, &id).await?;
    let Json(Tick { step, is_ticked }) = body.map_err(|rejection| unreadable(&rejection))?;
    web.forge().tick(viewer.user.id, branch.row.id, &step, is_ticked).await?;
    Ok(Json(Ticked { step, is_ticked }))
}

/// Since which head.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SinceQuery {
    from: String,
    to: Option<String>,
}

/// What changed between two heads.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct SinceAnswer {
    branch_id: BranchId,
    from: String,
    to: String,
    #[schema(value_type = Vec<String>)]
    unchanged: Vec<HunkId>,
    #[schema(value_type = Vec<String>)]
    changed: Vec<HunkId>,
    #[schema(value_type = Vec<String>)]
    added: Vec<HunkId>,
    #[schema(value_type = Vec<String>)]
    taken_back: Vec<HunkId>,
    #[schema(value_type = Object)]
    tutorial: Explained,
}

/// Shows what changed between two heads.
#[utoipa::path(
    get, path = "/news/api/forge/branch/{id}/interdiff", tag = "tutorials",
    params(("id" = i64, Path, description = "The branch's number"), SinceQuery),
    responses((status = 200, body = SinceAnswer))
)]
pub(super) async fn since(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<SinceQuery>,
) -> Result<Json<SinceAnswer>, ApiError> {
    let branch = find(&web, &viewer.principal, &id).await?;
    let to = query.to.unwrap_or_else(|| branch.head.oid.clone());
    let since = web.forge().since(&branch.row.repository, branch.row.id, &query.from, &to).await?;
    Ok(Json(SinceAnswer {
        branch_id: branch.row.id,
        from: since.from,
        to: since.to,
        unchanged: since.interdiff.unchanged,
        changed: since.interdiff.changed,
        added: since.interdiff.added,
        taken_back: since.interdiff.taken_back,
        tutorial: since.explained,
    }))
}

async fn explained(
    web: &Web,
    viewer: &Viewer,
    id: &str,
    query: HeadQuery,
) -> Result<(BranchView, ExplainedHead), ApiError> {
    let branch = find(web, &viewer.principal, id).await?;
    let head = query.head.unwrap_or_else(|| branch.head.oid.clone());
    let mut found = web.forge().explained(&branch.row.repository, branch.row.id, &head).await?;
    found.state = found.state.told_to(viewer.principal.can_write(&branch.row.repository));
    Ok((branch, found))
}
