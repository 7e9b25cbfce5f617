//! `GET /news/{repository}/branch/{id}`, and its buttons.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::changes::{self, Changes};
use super::{as_seen_by, not_found, render, time, words};
use crate::auth::User;
use crate::forge::id::BranchId;
use crate::forge::state::{BranchState, HeadState, Selection};
use crate::forge::view::BranchView;
use crate::web::Web;
use crate::web::error::{PageError, WebError};
use crate::web::viewer::PageViewer;

#[derive(Template)]
#[template(path = "branch.html")]
struct BranchPage {
    user: Option<User>,
    branch: BranchView,
    manifest_error: Option<(String, Option<u32>)>,
    shown: Result<Changes, String>,
    added: u64,
    removed: u64,
    base_short: String,
}

/// What the buttons send: the head that their reader saw.
#[derive(Debug, Deserialize)]
pub(super) struct ExpectedHead {
    expected_head: String,
}

/// Shows a branch.
pub(super) async fn show(
    PageViewer(user): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
) -> Result<Response, PageError> {
    page(&web, &user, &repository, &id).await.map_err(as_seen_by(&user))
}

async fn page(web: &Web, user: &User, repository: &str, id: &str) -> Result<Response, PageError> {
    let branch = find(web, user, repository, id).await?;
    let shown = Changes::read(web.forge(), repository, &branch.head).await;
    let total = |count: fn(&pika_git::FileDiff) -> u64| {
        shown.as_ref().map_or(0, |shown| shown.diff.files.iter().map(count).sum())
    };
    let (added, removed) = (total(|file| file.added), total(|file| file.removed));
    let manifest_error = match &branch.head.selection {
        Selection::ManifestError { message, line, .. } => Some((message.clone(), *line)),
        Selection::Selected | Selection::NoManifest => None,
    };
    let base_short = branch.head.base_oid.as_deref().map_or("", words::short).to_owned();
    render(&BranchPage {
        user: Some(user.clone()),
        branch,
        manifest_error,
        shown,
        added,
        removed,
        base_short,
    })
}

/// Finds a branch by what its URL says. One of another repository is not there.
async fn find(web: &Web, user: &User, repository: &str, id: &str) -> Result<BranchView, WebError> {
    let id: BranchId = id.parse().map_err(|_| not_found("branch"))?;
    if !user.can_read(repository) {
        return Err(not_found("branch"));
    }
    Ok(web.forge().branch(repository, id).await?)
}

/// Merges it at the head that was seen.
pub(super) async fn merge(
    PageViewer(user): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Form(form): Form<ExpectedHead>,
) -> Result<Response, PageError> {
    let result = async {
        let branch = find_writable(&web, &user, &repository, &id).await?;
        web.forge().merge(&repository, branch.row.id, &form.expected_head, &user.name).await?;
        Ok(back(&branch))
    };
    result.await.map_err(as_seen_by(&user))
}

/// Closes it at the head that was seen.
pub(super) async fn close(
    PageViewer(user): PageViewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, String)>,
    Form(form): Form<ExpectedHead>,
) -> Result<Response, PageError> {
    let result = async {
        let branch = find_writable(&web, &user, &repository, &id).await?;
        web.forge().close(&repository, branch.row.id, &form.expected_head, &user.name).await?;
        Ok(back(&branch))
    };
    result.await.map_err(as_seen_by(&user))
}

async fn find_writable(web: &Web, user: &User, repository: &str, id: &str) -> Result<BranchView, WebError> {
    let branch = find(web, user, repository, id).await?;
    if user.can_write(repository) { Ok(branch) } else { Err(not_found("branch")) }
}

fn back(branch: &BranchView) -> Response {
    Redirect::to(&format!("/news/{}/branch/{}", branch.row.repository, branch.row.id)).into_response()
}
