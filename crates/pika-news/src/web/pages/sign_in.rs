//! Signing in with a one-time link, and out again.
//!
//! Invariant: looking at a link never uses it up, because chat programs look at links too.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};

use super::render;
use crate::auth::{Presented, SESSION_COOKIE, SESSION_LIFETIME, Secret, User};
use crate::web::error::PageError;
use crate::web::{Web, limits};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    user: Option<User>,
    link: SignInLink,
    has_provider: bool,
    has_passkeys: bool,
}

enum SignInLink {
    None,
    Good { user_name: String, secret: String },
    Spent,
}

/// `GET /news/sign-in`: says how to get a link.
pub(super) async fn explain(State(web): State<Web>, headers: HeaderMap) -> Result<Response, PageError> {
    let user = match Presented::read(&headers) {
        Some(presented) => web.auth().identify(&presented).await?,
        None => None,
    };
    if user.is_some() {
        return Ok(Redirect::to("/news").into_response());
    }
    render(&SignInPage {
        user: None,
        link: SignInLink::None,
        has_provider: web.oidc().is_some(),
        has_passkeys: web.passkeys().is_some(),
    })
}

/// `GET /news/sign-in/{secret}`: asks for a click.
pub(super) async fn show(State(web): State<Web>, Path(secret): Path<String>) -> Result<Response, PageError> {
    match web.auth().find_sign_in_link(&secret).await? {
        Some(user) => {
            let link = SignInLink::Good { user_name: user.name, secret };
            render(&SignInPage { user: None, link, has_provider: false, has_passkeys: false })
        }
        None => spent(),
    }
}

/// `POST /news/sign-in/{secret}`: uses the link up.
pub(super) async fn consume(
    State(web): State<Web>,
    Path(secret): Path<String>,
) -> Result<Response, PageError> {
    if let Some(user) = web.auth().find_sign_in_link(&secret).await?
        && let Err(wait_s) = web.limits().account(user.id)
    {
        return Ok(limits::too_many(wait_s));
    }
    match web.auth().sign_in(&secret).await? {
        Some(session) => {
            let cookie = session_cookie(&session, web.is_secure());
            Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/news")).into_response())
        }
        None => spent(),
    }
}

/// `POST /news/sign-out`
pub(super) async fn sign_out(State(web): State<Web>, headers: HeaderMap) -> Result<Response, PageError> {
    if let Some(Presented::Session(session)) = Presented::read(&headers) {
        web.auth().sign_out(&session).await?;
    }
    let cookie = cookie("", 0, web.is_secure());
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/news/sign-in")).into_response())
}

/// A session's cookie; given again it is kept by the browser as long as by the forge.
pub(super) fn session_cookie(session: &Secret, is_secure: bool) -> String {
    cookie(session.reveal(), SESSION_LIFETIME.as_secs(), is_secure)
}

fn spent() -> Result<Response, PageError> {
    let page = render(&SignInPage {
        user: None,
        link: SignInLink::Spent,
        has_provider: false,
        has_passkeys: false,
    })?;
    Ok((StatusCode::NOT_FOUND, page).into_response())
}

fn cookie(value: &str, age_s: u64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age_s}{secure}")
}
