//! `GET /news`: every repository with its latest branches.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use super::sign_in::session_cookie;
use super::{render, time, words};
use crate::auth::{Presented, User};
use crate::forge::state::BranchState;
use crate::forge::view::{BranchFilter, BranchList, RepositoryRow};
use crate::web::Web;
use crate::web::error::{PageError, WebError};
use crate::web::viewer::Visitor;

const BRANCHES_SHOWN: u32 = 6;
/// More would be a page that nobody reads.
const REPOSITORIES_MAX: usize = 30;

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    user: Option<User>,
    repositories: Vec<RepositoryCard>,
}

struct RepositoryCard {
    row: RepositoryRow,
    clone_url: String,
    branches: BranchList,
}

/// Shows the repositories that the user may read.
pub(super) async fn show(
    Visitor(viewer): Visitor,
    State(web): State<Web>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let rows = web.forge().repositories().await?;
    let readable = rows.into_iter().filter(|row| viewer.can_read(&row.name)).take(REPOSITORIES_MAX);
    let mut repositories = Vec::new();
    for row in readable {
        let filter = BranchFilter { state: Some(BranchState::Open), limit: BRANCHES_SHOWN, offset: 0 };
        let branches = web.forge().branches(&row.name, filter).await?;
        let clone_url = format!("{}/news/git/{}.git", web.public_url(), row.name);
        repositories.push(RepositoryCard { row, clone_url, branches });
    }
    // Who is nobody and may see nothing is shown how to become somebody.
    if viewer.user().is_none() && repositories.is_empty() {
        return Err(WebError::Unauthenticated.into());
    }
    let mut response = render(&HomePage { user: viewer.user().cloned(), repositories })?;
    if let Some(Presented::Session(session)) = Presented::read(&headers)
        && let Ok(cookie) = HeaderValue::from_str(&session_cookie(&session, web.is_secure()))
    {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
