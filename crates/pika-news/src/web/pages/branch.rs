//! `GET /news/{repository}/branch/{id}`, and its buttons.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::changes::Commits;
use super::{as_seen_by, explained, leading_back, not_found, render, time, words};
use crate::auth::{Action, Principal, Resource, User};
use crate::forge::id::BranchId;
use crate::forge::state::{BranchState, HeadState, Selection};
use crate::forge::view::BranchView;
use crate::web::Web;
use crate::web::error::{PageError, WebError};
use crate::web::viewer::{PageViewer, Visitor, allow};

#[derive(Template)]
#[template(path = "branch.html")]
struct BranchPage {
    user: Option<User>,
    branch: BranchView,
    can_write: bool,
    manifest_error: Option<(String, Option<u32>)>,
    commits: Result<Commits, String>,
    changes: String,
}

/// What the buttons send: the head that their reader saw.
#[derive(Debug, Deserialize)]
pub(super) struct ExpectedHead {
    expected_head: String,
}

/// Whether the page waits for its changes; for who has no script.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PageQuery {
    #[serde(default)]
    wait: Option<String>,
}

/// Shows a branch.
pub(super) async fn show(
    Visitor(viewer): Visitor,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Query(query): Query<PageQuery>,
) -> Result<Response, PageError> {
    page(&web, &viewer, &repository, &id, query.wait.is_some()).await.map_err(as_seen_by(&viewer))
}

async fn page(
    web: &Web,
    viewer: &Principal,
    repository: &str,
    id: &str,
    is_patient: bool,
) -> Result<Response, PageError> {
    let branch = find(web, viewer, repository, id).await?;
    let (commits, changes) = tokio::join!(
        Commits::read(web.forge(), repository, &branch.head),
        explained::section(web, viewer, &branch, is_patient)
    );
    let manifest_error = match &branch.head.selection {
        Selection::ManifestError { message, line, .. } => Some((message.clone(), *line)),
        Selection::Selected | Selection::NoManifest => None,
    };
    let (user, can_write) = (viewer.user().cloned(), viewer.can_write(repository));
    render(&BranchPage { user, branch, can_write, manifest_error, commits, changes: changes? })
}

/// Finds a branch by what its URL says. One of another repository is not there.
pub(super) async fn find(
    web: &Web,
    viewer: &Principal,
    repository: &str,
    id: &str,
) -> Result<BranchView, WebError> {
    let id: BranchId = id.parse().map_err(|_| not_found("branch"))?;
    allow(viewer, Action::Read, Resource::Repository(repository))?;
    Ok(web.forge().branch(repository, id).await?)
}

/// Merges it at the head that was seen.
pub(super) async fn merge(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Form(form): Form<ExpectedHead>,
) -> Result<Response, PageError> {
    let result = async {
        let branch = find_writable(&web, &viewer, &repository, &id).await?;
        let merged = web.forge().merge(&repository, branch.row.id, &form.expected_head, viewer.name()).await;
        merged.map_err(|error| leading_back(path(&branch))(error.into()))?;
        Ok(back(&branch))
    };
    result.await.map_err(as_seen_by(&viewer))
}

/// Closes it at the head that was seen.
pub(super) async fn close(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Form(form): Form<ExpectedHead>,
) -> Result<Response, PageError> {
    let result = async {
        let branch = find_writable(&web, &viewer, &repository, &id).await?;
        let closed = web.forge().close(&repository, branch.row.id, &form.expected_head, viewer.name()).await;
        closed.map_err(|error| leading_back(path(&branch))(error.into()))?;
        Ok(back(&branch))
    };
    result.await.map_err(as_seen_by(&viewer))
}

/// Opens it again at the head that was seen.
pub(super) async fn reopen(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Form(form): Form<ExpectedHead>,
) -> Result<Response, PageError> {
    let result = async {
        let branch = find_writable(&web, &viewer, &repository, &id).await?;
        let open = web.forge().reopen(&repository, branch.row.id, &form.expected_head, viewer.name()).await;
        open.map_err(|error| leading_back(path(&branch))(error.into()))?;
        Ok(back(&branch))
    };
    result.await.map_err(as_seen_by(&viewer))
}

pub(super) async fn find_writable(
    web: &Web,
    viewer: &Principal,
    repository: &str,
    id: &str,
) -> Result<BranchView, WebError> {
    let branch = find(web, viewer, repository, id).await?;
    allow(viewer, Action::Write, Resource::Repository(repository))?;
    Ok(branch)
}

pub(super) fn back(branch: &BranchView) -> Response {
    Redirect::to(&path(branch)).into_response()
}

fn path(branch: &BranchView) -> String {
    format!("/news/{}/branch/{}", branch.row.repository, branch.row.id)
}
