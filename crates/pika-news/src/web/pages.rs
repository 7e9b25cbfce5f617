//! The pages: rendered here, complete without script. The script only keeps them fresh.
//!
//! Invariant: text from outside reaches markup through the templates' escaping, or through `ansi` and `words`, which
//! escape too.

mod badge;
mod branch;
mod changes;
mod explained;
mod home;
mod lane_run;
mod oidc;
mod passkeys;
mod repository;
mod settings;
mod sign_in;
mod tokens;
mod webhooks;

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};

use super::Web;
use super::error::{PageError, WebError};
use super::{limits, time, words};
use crate::auth::{Principal, User};

/// The routes of the pages.
pub(super) fn router(web: &Web) -> Router<Web> {
    let signing_in = Router::new()
        .route("/news/sign-in/oidc", get(oidc::depart))
        .route("/news/sign-in/oidc/callback", get(oidc::arrive))
        .route("/news/sign-in/{secret}", get(sign_in::show).post(sign_in::consume))
        .layer(from_fn_with_state(web.clone(), limits::by_address));
    let by_script = Router::new()
        .route("/news/sign-in/passkey/begin", post(passkeys::begin_sign_in))
        .route("/news/sign-in/passkey", post(passkeys::sign_in))
        .layer(from_fn_with_state(web.clone(), limits::by_address_in_json));
    signing_in
        .merge(by_script)
        .route("/news", get(home::show))
        .route("/news/sign-in", get(sign_in::explain))
        .route("/news/sign-out", post(sign_in::sign_out))
        .route("/news/settings/tokens", get(tokens::show).post(tokens::create))
        .route("/news/settings/tokens/{id}/revoke", post(tokens::revoke))
        .route("/news/settings/ssh-keys", get(settings::keys).post(settings::add_key))
        .route("/news/settings/ssh-keys/{id}/revoke", post(settings::revoke_key))
        .route("/news/settings/passkeys", get(passkeys::show).post(passkeys::add))
        .route("/news/settings/passkeys/begin", post(passkeys::begin))
        .route("/news/settings/passkeys/{id}/remove", post(passkeys::remove))
        .route("/news/settings/users", get(settings::users).post(settings::add_user))
        .route("/news/settings/users/{name}", post(settings::change_user))
        .route("/news/settings/audit", get(settings::audit))
        .route("/news/{repository}", get(repository::show))
        .route("/news/{repository}/badge.svg", get(badge::show))
        .route("/news/{repository}/settings", get(settings::repository))
        .route("/news/{repository}/settings/members", post(settings::set_member))
        .route("/news/{repository}/settings/webhooks", post(webhooks::add))
        .route("/news/{repository}/settings/webhooks/{webhook_id}/remove", post(webhooks::remove))
        .route("/news/{repository}/branch/{id}", get(branch::show))
        .route("/news/{repository}/branch/{id}/merge", post(branch::merge))
        .route("/news/{repository}/branch/{id}/close", post(branch::close))
        .route("/news/{repository}/branch/{id}/reopen", post(branch::reopen))
        .route("/news/{repository}/branch/{id}/changes", get(explained::show))
        .route("/news/{repository}/branch/{id}/file", get(explained::file))
        .route("/news/{repository}/branch/{id}/since", get(explained::since))
        .route("/news/{repository}/branch/{id}/seen", post(explained::seen))
        .route("/news/{repository}/branch/{id}/tick", post(explained::tick))
        .route("/news/{repository}/branch/{id}/tutorial/retry", post(explained::retry))
        .route("/news/{repository}/lane-run/{id}", get(lane_run::show))
        .route("/news/{repository}/lane-run/{id}/rerun", post(lane_run::rerun))
        .route("/news/{repository}/lane-run/{id}/cancel", post(lane_run::cancel))
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    user: Option<User>,
    status: u16,
    title: &'static str,
    message: String,
    back: Option<String>,
}

/// Renders an error as a page.
pub(super) fn problem(error: &WebError, user: Option<User>, back: Option<String>) -> Response {
    let status = error.status();
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::CONFLICT => "This can't be done now",
        StatusCode::INTERNAL_SERVER_ERROR => "Something went wrong",
        _ => "This can't be done",
    };
    let page = ProblemPage { user, status: status.as_u16(), title, message: error.message(), back };
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "the page of an error can't be rendered");
            (status, title).into_response()
        }
    }
}

fn render(page: &impl Template) -> Result<Response, PageError> {
    let html = page.render().map_err(|error| WebError::internal(&error))?;
    Ok(Html(html).into_response())
}

/// Shows who asked on the page of an error too.
fn as_seen_by(viewer: &Principal) -> impl FnOnce(PageError) -> PageError {
    let user = viewer.user().cloned();
    move |error| PageError { user, ..error }
}

/// Leads from the page of an error back to where the button was.
fn leading_back(path: String) -> impl FnOnce(PageError) -> PageError {
    move |error| PageError { back: Some(path), ..error }
}

fn not_found(what: &str) -> WebError {
    WebError::NotFound(format!("There is no such {what}."))
}
