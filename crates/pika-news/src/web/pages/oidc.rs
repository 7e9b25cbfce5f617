//! To the sign-in provider, and back.
//!
//! Invariant: the cookie that ties an answer to the browser that asked goes with the answer, used or not.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::sign_in::session_cookie;
use crate::auth::OidcError;
use crate::web::Web;
use crate::web::code::Code;
use crate::web::error::{PageError, WebError};

const COOKIE: &str = "pika_departure";
const PATH: &str = "/news/sign-in/oidc";
const AGE_S: u64 = 600;

/// `GET /news/sign-in/oidc`: goes to the provider.
pub(super) async fn depart(State(web): State<Web>) -> Result<Response, PageError> {
    let oidc = web.oidc().ok_or_else(|| super::not_found("sign-in provider"))?;
    let departure = oidc.depart().await.map_err(refusal)?;
    let cookie = cookie(departure.browser.reveal(), AGE_S, web.is_secure());
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&departure.url)).into_response())
}

/// What the provider sends along.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    error: Option<String>,
}

/// `GET /news/sign-in/oidc/callback?code=&state=`: comes back.
pub(super) async fn arrive(
    State(web): State<Web>,
    Query(answer): Query<Answer>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let oidc = web.oidc().ok_or_else(|| super::not_found("sign-in provider"))?;
    let arrived = match (crate::auth::cookie(&headers, COOKIE), &answer.error) {
        (_, Some(_)) => Err(OidcError::Refused("the provider did not sign you in".to_owned())),
        (None, None) => Err(OidcError::State),
        (Some(browser), None) => web.auth().sign_in_from(oidc, &answer.code, &answer.state, &browser).await,
    };
    let mut response = match arrived.map_err(refusal) {
        Ok(session) => {
            let cookie = session_cookie(&session, web.is_secure());
            ([(header::SET_COOKIE, cookie)], Redirect::to("/news")).into_response()
        }
        Err(error) => PageError::from(error).into_response(),
    };
    if let Ok(spent) = HeaderValue::from_str(&cookie("", 0, web.is_secure())) {
        response.headers_mut().append(header::SET_COOKIE, spent);
    }
    Ok(response)
}

fn refusal(error: OidcError) -> WebError {
    match error {
        OidcError::Auth(error) => error.into(),
        OidcError::Provider(_) => {
            let shown = WebError::internal(&error);
            match shown {
                WebError::Internal(id) => WebError::Refused(
                    Code::ProviderUnreachable,
                    format!("The sign-in provider can't be reached; try again in a minute (error {id})."),
                ),
                other => other,
            }
        }
        OidcError::Answer(_) => {
            let WebError::Internal(id) = WebError::internal(&error) else { return WebError::Unauthenticated };
            WebError::Refused(Code::Forbidden, format!("{error} (error {id})"))
        }
        OidcError::State | OidcError::Refused(_) => WebError::Refused(Code::Forbidden, error.to_string()),
    }
}

fn cookie(value: &str, age_s: u64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    // Lax: the way back begins at the provider's page.
    format!("{COOKIE}={value}; Path={PATH}; HttpOnly; SameSite=Lax; Max-Age={age_s}{secure}")
}
