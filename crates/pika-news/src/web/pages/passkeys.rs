//! Passkeys of a user's own, and signing in with one.
//!
//! Invariant: the cookie that ties an answer to the browser that was asked goes with the answer, used or not.

use askama::Template;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{AppendHeaders, IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::json;
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

use super::sign_in::session_cookie;
use super::{as_seen_by, not_found, render, time};
use crate::auth::{
    Action, Asked, CEREMONY_LIFETIME, PasskeyEntry, PasskeyError, Passkeys, Presented, Principal, Resource,
    Secret, User,
};
use crate::web::code::Code;
use crate::web::error::{ApiError, PageError, WebError};
use crate::web::viewer::{PageViewer, Viewer, allow};
use crate::web::{Web, limits};

const COOKIE: &str = "pika_ceremony";

#[derive(Template)]
#[template(path = "passkeys.html")]
struct PasskeysPage {
    user: Option<User>,
    is_possible: bool,
    passkeys: Vec<PasskeyEntry>,
}

/// `GET /news/settings/passkeys`
pub(super) async fn show(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
) -> Result<Response, PageError> {
    page(&web, &viewer).await.map_err(as_seen_by(&viewer))
}

async fn page(web: &Web, viewer: &Principal) -> Result<Response, PageError> {
    let user = viewer.user().ok_or(WebError::Unauthenticated)?;
    allow(viewer, Action::Read, Resource::Account(user.id))?;
    let passkeys = web.auth().list_passkeys(user).await?;
    render(&PasskeysPage { user: Some(user.clone()), is_possible: web.passkeys().is_some(), passkeys })
}

/// `POST /news/settings/passkeys/begin`: what the browser is to ask the device.
pub(super) async fn begin(viewer: Viewer, State(web): State<Web>) -> Result<Response, ApiError> {
    may_add(&viewer)?;
    let asked = web.auth().begin_passkey(offered(&web)?, &viewer.user).await.map_err(refusal)?;
    Ok(ask(asked, web.is_secure()))
}

/// What the device has made.
#[derive(Deserialize)]
pub(super) struct Made {
    name: String,
    credential: RegisterPublicKeyCredential,
}

/// `POST /news/settings/passkeys`: adds it.
pub(super) async fn add(
    viewer: Viewer,
    State(web): State<Web>,
    headers: HeaderMap,
    body: Result<Json<Made>, JsonRejection>,
) -> Result<Response, ApiError> {
    may_add(&viewer)?;
    let Json(made) = body.map_err(|rejection| WebError::bad_request(rejection.body_text()))?;
    let (passkeys, browser) = (offered(&web)?, begun(&headers)?);
    let added = web.auth().add_passkey(passkeys, &viewer.user, &browser, &made.name, &made.credential).await;
    let id = added.map_err(refusal)?;
    Ok(([(header::SET_COOKIE, cookie("", 0, web.is_secure()))], Json(json!({ "id": id }))).into_response())
}

/// `POST /news/settings/passkeys/{id}/remove`
pub(super) async fn remove(
    PageViewer(viewer): PageViewer,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let done = async {
        let user = viewer.user().ok_or(WebError::Unauthenticated)?;
        allow(&viewer, Action::Administer, Resource::Account(user.id))?;
        let id = id.parse().map_err(|_| not_found("passkey"))?;
        match web.auth().remove_passkey(user, id).await? {
            true => Ok(Redirect::to("/news/settings/passkeys").into_response()),
            false => Err(not_found("passkey").into()),
        }
    };
    done.await.map_err(as_seen_by(&viewer))
}

/// `POST /news/sign-in/passkey/begin`
pub(super) async fn begin_sign_in(State(web): State<Web>) -> Result<Response, ApiError> {
    let asked = web.auth().begin_passkey_sign_in(offered(&web)?).map_err(refusal)?;
    Ok(ask(asked, web.is_secure()))
}

/// `POST /news/sign-in/passkey`: signs in who the device says it is.
pub(super) async fn sign_in(
    State(web): State<Web>,
    headers: HeaderMap,
    body: Result<Json<PublicKeyCredential>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(credential) = body.map_err(|rejection| WebError::bad_request(rejection.body_text()))?;
    let (passkeys, browser) = (offered(&web)?, begun(&headers)?);
    let answered = web.auth().find_passkey(passkeys, &browser, credential).await.map_err(refusal)?;
    if let Err(wait_s) = web.limits().account(answered.user().id) {
        return Ok(limits::too_many_in_json(wait_s));
    }
    let session = web.auth().sign_in_with_passkey(passkeys, answered).await.map_err(refusal)?;
    let cookies = [session_cookie(&session, web.is_secure()), cookie("", 0, web.is_secure())];
    let cookies = AppendHeaders(cookies.map(|cookie| (header::SET_COOKIE, cookie)));
    Ok((cookies, Json(json!({}))).into_response())
}

/// A passkey opens sessions, and so only a session adds one: a token that leaked must not outlive its revocation.
fn may_add(viewer: &Viewer) -> Result<(), WebError> {
    allow(&viewer.principal, Action::Administer, Resource::Account(viewer.user.id))?;
    match viewer.presented {
        Presented::Session(_) => Ok(()),
        Presented::Token(_) => {
            let words = "a passkey is added in a browser by who has signed in, not with an API token";
            Err(WebError::Refused(Code::Forbidden, words.to_owned()))
        }
    }
}

fn offered(web: &Web) -> Result<&Passkeys, WebError> {
    web.passkeys().ok_or_else(|| {
        let words = "this forge has no passkeys: browsers offer them where `public_url` is https with a name";
        WebError::Refused(Code::Conflict, words.to_owned())
    })
}

fn ask(asked: Asked, is_secure: bool) -> Response {
    let cookie = cookie(asked.browser.reveal(), CEREMONY_LIFETIME.as_secs(), is_secure);
    ([(header::SET_COOKIE, cookie)], Json(asked.options)).into_response()
}

fn refusal(error: PasskeyError) -> WebError {
    match error {
        PasskeyError::Auth(error) => error.into(),
        PasskeyError::Answer(ref source) => {
            tracing::info!(%source, "a passkey was refused");
            WebError::Refused(Code::Forbidden, error.to_string())
        }
        PasskeyError::Ceremony | PasskeyError::Unknown | PasskeyError::Copied => {
            WebError::Refused(Code::Forbidden, error.to_string())
        }
        PasskeyError::Busy => WebError::Refused(Code::TooManyRequests, error.to_string()),
        PasskeyError::Name => WebError::bad_request(error.to_string()),
        PasskeyError::Taken | PasskeyError::TooMany => WebError::Refused(Code::Conflict, error.to_string()),
    }
}

fn begun(headers: &HeaderMap) -> Result<Secret, WebError> {
    crate::auth::cookie(headers, COOKIE).ok_or_else(|| refusal(PasskeyError::Ceremony))
}

fn cookie(value: &str, age_s: u64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/news; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}")
}
