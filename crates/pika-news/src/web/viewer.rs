//! Who looks: the extractors that every route but sign-in and the static files begins with.
//!
//! Invariants: a handler that takes a [`Viewer`] or a [`PageViewer`] runs for a user, or not at all; what anybody may do is
//! asked with [`allow`].

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Web;
use super::code::Code;
use super::error::{ApiError, PageError, WebError};
use crate::auth::{Action, Decision, Presented, Principal, Refused, Resource, Scope, Scopes, User};

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

/// The user behind a page that acts, or is about themselves; without one the answer leads to the sign-in page.
#[derive(Clone, Debug)]
pub(crate) struct PageViewer(pub(crate) Principal);

/// Whoever reads a page, perhaps nobody that is known.
#[derive(Clone, Debug)]
pub(crate) struct Visitor(pub(crate) Principal);

/// Asks for the decision, and says no in the web's words.
pub(crate) fn allow(principal: &Principal, action: Action, resource: Resource<'_>) -> Result<(), WebError> {
    match principal.decide(action, resource) {
        Decision::Allowed => Ok(()),
        Decision::Unauthenticated => Err(WebError::Unauthenticated),
        Decision::Hidden => Err(WebError::NotFound("There is no such repository or account.".to_owned())),
        Decision::Forbidden(why) => Err(WebError::Refused(Code::Forbidden, why.to_string())),
    }
}

/// Refuses scopes that the one who asks has not: nobody makes themselves a key that may do more than they may.
pub(super) fn within_own(principal: &Principal, scopes: &Scopes) -> Result<(), WebError> {
    let missing =
        Scope::ALL.iter().find(|scope| scopes.contains(**scope) && !principal.scopes().contains(**scope));
    match missing {
        None => Ok(()),
        Some(scope) => Err(WebError::Refused(Code::Forbidden, Refused::Scope(*scope).to_string())),
    }
}

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

impl FromRequestParts<Web> for Visitor {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Visitor, PageError> {
        match Presented::read(&parts.headers) {
            // A session that has ended makes nobody less than a stranger; a wrong token is a mistake to be told of.
            Some(presented @ Presented::Session(_)) => {
                let found = web.auth().identify(&presented).await?;
                Ok(Visitor(found.unwrap_or_else(|| web.auth().anonymous())))
            }
            Some(Presented::Token(_)) => Ok(Visitor(identify(web, &parts.headers).await?.principal)),
            None => Ok(Visitor(web.auth().anonymous())),
        }
    }
}

/// Refuses what the viewer may not do, in the words that fit what they may know.
pub(super) fn must(viewer: &Viewer, action: Action, resource: Resource<'_>) -> Result<(), WebError> {
    allow(&viewer.principal, action, resource)
}

async fn identify(web: &Web, headers: &axum::http::HeaderMap) -> Result<Viewer, WebError> {
    let presented = Presented::read(headers).ok_or(WebError::Unauthenticated)?;
    let principal = web.auth().identify(&presented).await?.ok_or(WebError::Unauthenticated)?;
    let user = principal.user().cloned().ok_or(WebError::Unauthenticated)?;
    Ok(Viewer { user, principal, presented })
}
