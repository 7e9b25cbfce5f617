//! Who looks: the extractors that every route but sign-in and the static files begins with.
//!
//! Invariant: a handler that takes one of these runs for a user with rights, or not at all.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Web;
use super::error::{ApiError, PageError, WebError};
use crate::auth::{Action, Decision, Presented, Principal, Resource, User};

/// The user behind a JSON route or a stream; without one the answer is 401 and JSON.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    /// Who it is.
    pub(crate) user: User,
    /// What they may do.
    pub(crate) principal: Principal,
    /// What they identified themselves with; a stream asks again with it from time to time.
    pub(crate) presented: Presented,
}

/// The user behind a page; without one the answer leads to the sign-in page.
#[derive(Clone, Debug)]
pub(crate) struct PageViewer(pub(crate) Principal);

/// Lets only those through who are somebody. Every JSON route and stream is behind it.
pub(super) async fn require_auth(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    match identify(&web, request.headers()).await {
        Ok(viewer) => {
            request.extensions_mut().insert(viewer);
            next.run(request).await
        }
        Err(error) => ApiError(error).into_response(),
    }
}

impl FromRequestParts<Web> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Viewer, ApiError> {
        match parts.extensions.get::<Viewer>() {
            Some(viewer) => Ok(viewer.clone()),
            None => identify(web, &parts.headers).await.map_err(ApiError),
        }
    }
}

impl FromRequestParts<Web> for PageViewer {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<PageViewer, PageError> {
        let viewer = identify(web, &parts.headers).await?;
        Ok(PageViewer(viewer.principal))
    }
}

/// Refuses what the viewer may not do, in the words that fit what they may know.
pub(super) fn must(viewer: &Viewer, action: Action, resource: Resource<'_>) -> Result<(), WebError> {
    match viewer.principal.decide(action, resource) {
        Decision::Allowed => Ok(()),
        Decision::Unauthenticated => Err(WebError::Unauthenticated),
        Decision::Hidden => Err(WebError::NotFound("there is no such thing here".to_owned())),
        Decision::Forbidden(why) => Err(WebError::Refused(StatusCode::FORBIDDEN, why.to_string())),
    }
}

async fn identify(web: &Web, headers: &axum::http::HeaderMap) -> Result<Viewer, WebError> {
    let presented = Presented::read(headers).ok_or(WebError::Unauthenticated)?;
    let principal = web.auth().identify(&presented).await?.ok_or(WebError::Unauthenticated)?;
    let user = principal.user().cloned().ok_or(WebError::Unauthenticated)?;
    Ok(Viewer { user, principal, presented })
}
