//! `/news/settings/tokens`: a user's API tokens.
//!
//! Invariant: a token's secret is on the page that its creation answers with, and nowhere else.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::{as_seen_by, not_found, render, time};
use crate::auth::{Action, AuthError, Principal, Resource, Scope, Scopes, Token, User};
use crate::web::Web;
use crate::web::api::tokens::days;
use crate::web::error::{PageError, WebError};
use crate::web::viewer::{PageViewer, allow, within_own};

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    user: Option<User>,
    tokens: Vec<Token>,
    created: Option<String>,
    problem: Option<String>,
    clone_example: String,
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(super) struct NewToken {
    title: String,
    scope_read: Option<String>,
    scope_push: Option<String>,
    scope_write: Option<String>,
    scope_admin: Option<String>,
    /// Days; empty for ever.
    #[serde(default)]
    expires: String,
}

impl NewToken {
    fn scopes(&self) -> Scopes {
        let boxes = [
            (&self.scope_read, Scope::Read),
            (&self.scope_push, Scope::Push),
            (&self.scope_write, Scope::Write),
            (&self.scope_admin, Scope::Admin),
        ];
        boxes.into_iter().filter(|(ticked, _)| ticked.is_some()).map(|(_, scope)| scope).collect()
    }
}

/// Lists them.
pub(super) async fn show(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
) -> Result<Response, PageError> {
    page(&web, &viewer, None, None).await.map_err(as_seen_by(&viewer))
}

/// Makes one and shows its secret.
pub(super) async fn create(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Form(form): Form<NewToken>,
) -> Result<Response, PageError> {
    let result = async {
        let account = viewer.user().ok_or(WebError::Unauthenticated)?;
        allow(&viewer, Action::Administer, Resource::Account(account.id))?;
        let scopes = form.scopes();
        within_own(&viewer, &scopes)?;
        let lifetime = days(form.expires.parse().ok());
        match web.auth().create_token(account, &form.title, &scopes, lifetime).await {
            Ok(secret) => page(&web, &viewer, Some(secret.reveal().to_owned()), None).await,
            Err(error @ (AuthError::TokenTitle | AuthError::TokenScopes | AuthError::TooManyTokens)) => {
                let problem = WebError::from(error);
                let page = page(&web, &viewer, None, Some(problem.message())).await?;
                Ok((problem.status(), page).into_response())
            }
            Err(error) => Err(error.into()),
        }
    };
    result.await.map_err(as_seen_by(&viewer))
}

/// Revokes one.
pub(super) async fn revoke(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let result = async {
        let account = viewer.user().ok_or(WebError::Unauthenticated)?;
        allow(&viewer, Action::Administer, Resource::Account(account.id))?;
        let id = id.parse().map_err(|_| not_found("token"))?;
        match web.auth().revoke_token(account, id).await? {
            true => Ok(Redirect::to("/news/settings/tokens").into_response()),
            false => Err(not_found("token").into()),
        }
    };
    result.await.map_err(as_seen_by(&viewer))
}

async fn page(
    web: &Web,
    viewer: &Principal,
    created: Option<String>,
    problem: Option<String>,
) -> Result<Response, PageError> {
    let account = viewer.user().ok_or(WebError::Unauthenticated)?;
    allow(viewer, Action::Read, Resource::Account(account.id))?;
    let tokens = web.auth().list_tokens(account).await?;
    let repository = web.forge().repository_names().into_iter().find(|name| viewer.can_read(name));
    let name = repository.as_deref().unwrap_or("NAME");
    let clone_example = match web.public_url().split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{}@{host}/news/git/{name}.git", account.name),
        None => String::new(),
    };
    render(&TokensPage { user: viewer.user().cloned(), tokens, created, problem, clone_example })
}
