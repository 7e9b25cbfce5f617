//! `GET /news/{repository}/lane-run/{id}`, and its buttons.

mod log;
mod run;

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use pikaci::why::Why;
use serde::Deserialize;

use self::log::{LogSection, Window};
use self::run::{Artifact, JobRow, PhaseRow, RunSection};
use super::{as_seen_by, leading_back, not_found, render, time, words};
use crate::auth::{Action, Principal, Resource, User};
use crate::forge::RerunScope;
use crate::forge::id::LaneRunId;
use crate::forge::state::LaneRunStatus;
use crate::forge::view::LaneRunDetail;
use crate::web::error::{PageError, WebError};
use crate::web::viewer::{PageViewer, Visitor, allow};
use crate::web::{Web, runs};

/// Which part of which log is wanted.
#[derive(Debug, Deserialize)]
pub(super) struct LogQuery {
    job: Option<String>,
    kind: Option<String>,
    before: Option<u64>,
}

/// What the rerun buttons send.
#[derive(Debug, Deserialize)]
pub(super) struct Rerun {
    #[serde(default)]
    failed: bool,
}

#[derive(Template)]
#[template(path = "lane_run.html")]
struct LaneRunPage {
    user: Option<User>,
    detail: LaneRunDetail,
    page: String,
    can_write: bool,
    raw_base: String,
    is_busy: bool,
    is_unfinished: bool,
    has_failed: bool,
    run_problem: Option<String>,
    why: Option<Why>,
    jobs: Vec<JobRow>,
    phases: Vec<PhaseRow>,
    artifacts: Vec<Artifact>,
    log: Option<LogSection>,
}

/// Shows a lane run.
pub(super) async fn show(
    Visitor(viewer): Visitor,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> Result<Response, PageError> {
    page(&web, &viewer, &repository, &id, query).await.map_err(as_seen_by(&viewer))
}

async fn page(
    web: &Web,
    viewer: &Principal,
    repository: &str,
    id: &str,
    query: LogQuery,
) -> Result<Response, PageError> {
    let detail = find(web, viewer, repository, id).await?;
    let side = runs::side(query.kind.as_deref())?;
    let job = query.job.as_deref().filter(|job| !job.is_empty()).map(pikaci::JobId::parse).transpose()?;
    let window = Window { job, side, before: query.before };
    let (section, run_problem) = match read_run(web, &detail, window).await {
        Ok(section) => (section, None),
        // Named before it is spawned: for a moment there is a run without a folder.
        Err(WebError::NotFound(_)) if detail.run.status != LaneRunStatus::Finished => (None, None),
        Err(error) => (None, Some(error.message())),
    };
    let section = section.unwrap_or_default();
    let is_unfinished = detail.run.status != LaneRunStatus::Finished;
    let did_not_pass = detail.run.outcome.as_ref().is_some_and(|outcome| *outcome != pikaci::Outcome::Passed);
    let raw_base = detail.run.run_id.as_ref().map(|run| format!("/news/api/forge/pikaci/logs/{run}/raw"));
    render(&LaneRunPage {
        user: viewer.user().cloned(),
        can_write: viewer.can_write(repository),
        page: format!("/news/{}/lane-run/{}", detail.repository, detail.run.id),
        raw_base: raw_base.unwrap_or_default(),
        is_busy: is_unfinished,
        is_unfinished,
        has_failed: did_not_pass && detail.run.run_id.is_some(),
        detail,
        run_problem,
        why: section.why,
        jobs: section.jobs,
        phases: section.phases,
        artifacts: section.artifacts,
        log: section.log,
    })
}

async fn read_run(web: &Web, detail: &LaneRunDetail, window: Window) -> Result<Option<RunSection>, WebError> {
    let Some(run) = detail.run.run_id.clone() else { return Ok(None) };
    let state = web.forge().state_root(&detail.repository)?;
    runs::read(move || RunSection::read(&state, &run, &window)).await.map(Some)
}

/// Finds a lane run by what its URL says. One of another repository is not there.
async fn find(web: &Web, viewer: &Principal, repository: &str, id: &str) -> Result<LaneRunDetail, WebError> {
    let id: LaneRunId = id.parse().map_err(|_| not_found("lane run"))?;
    allow(viewer, Action::Read, Resource::Repository(repository))?;
    Ok(web.forge().lane_run(repository, id).await?)
}

fn path(repository: &str, id: LaneRunId) -> String {
    format!("/news/{repository}/lane-run/{id}")
}

/// Queues another attempt, of everything or of what did not pass.
pub(super) async fn rerun(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Form(form): Form<Rerun>,
) -> Result<Response, PageError> {
    let result = async {
        let detail = find_writable(&web, &viewer, &repository, &id).await?;
        let scope = if form.failed { RerunScope::Failed } else { RerunScope::All };
        let queued = web.forge().rerun(&repository, detail.run.id, scope, viewer.name()).await;
        let queued = queued.map_err(|error| leading_back(path(&repository, detail.run.id))(error.into()))?;
        Ok(Redirect::to(&path(&repository, queued)).into_response())
    };
    result.await.map_err(as_seen_by(&viewer))
}

/// Stops it.
pub(super) async fn cancel(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let result = async {
        let detail = find_writable(&web, &viewer, &repository, &id).await?;
        let cancelled = web.forge().cancel(&repository, detail.run.id, viewer.name()).await;
        cancelled.map_err(|error| leading_back(path(&repository, detail.run.id))(error.into()))?;
        Ok(Redirect::to(&path(&repository, detail.run.id)).into_response())
    };
    result.await.map_err(as_seen_by(&viewer))
}

async fn find_writable(
    web: &Web,
    viewer: &Principal,
    repository: &str,
    id: &str,
) -> Result<LaneRunDetail, WebError> {
    let detail = find(web, viewer, repository, id).await?;
    allow(viewer, Action::Write, Resource::Repository(repository))?;
    Ok(detail)
}
