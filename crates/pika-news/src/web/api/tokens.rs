//! A user's own API tokens.
//!
//! Invariant: a token's secret is in the answer to its creation, and nowhere else; a token makes none that is good for more
//! than itself.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::actions::unreadable;
use crate::auth::{Action, Resource, Scope, Scopes, Token};
use crate::web::Web;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::Path;
use crate::web::viewer::{Viewer, allow, within_own};

/// A token that is wanted.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    title: String,
    /// Of `read`, `push`, `write` and `admin`.
    scopes: Vec<String>,
    /// After how many days it stops to work; never when absent.
    expires_in_days: Option<u32>,
}

/// A token that was made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct CreatedToken {
    token: String,
    #[serde(flatten)]
    about: Token,
}

/// Lists one's own tokens.
#[utoipa::path(
    get, path = "/news/api/forge/tokens", tag = "people",
    responses((status = 200, body = Vec<Token>))
)]
pub(super) async fn list(viewer: Viewer, State(web): State<Web>) -> Result<Json<Vec<Token>>, ApiError> {
    allow(&viewer.principal, Action::Read, Resource::Account(viewer.user.id))?;
    Ok(Json(web.auth().list_tokens(&viewer.user).await?))
}

/// Makes a token; its secret is shown this once.
#[utoipa::path(
    post, path = "/news/api/forge/tokens", tag = "people",
    request_body = NewToken,
    responses((status = 201, body = CreatedToken))
)]
pub(super) async fn create(
    viewer: Viewer,
    State(web): State<Web>,
    body: Result<Json<NewToken>, JsonRejection>,
) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Account(viewer.user.id))?;
    let Json(new) = body.map_err(|rejection| unreadable(&rejection))?;
    let unknown = || WebError::bad_request("a scope is `read`, `push`, `write` or `admin`");
    let scopes = new.scopes.iter().map(|word| Scope::parse(word).ok_or_else(unknown));
    let scopes = scopes.collect::<Result<Scopes, WebError>>()?;
    within_own(&viewer.principal, &scopes)?;
    let (user, lifetime) = (&viewer.user, days(new.expires_in_days));
    let created = web.auth().create_token_as(&user.name, user, &new.title, &scopes, lifetime).await?;
    let token = created.secret.reveal().to_owned();
    Ok((StatusCode::CREATED, Json(CreatedToken { token, about: created.about })))
}

/// Revokes a token.
#[utoipa::path(
    delete, path = "/news/api/forge/tokens/{id}", tag = "people",
    params(("id" = i64, Path, description = "The token's number")),
    responses((status = 204, description = "Done"))
)]
pub(super) async fn revoke(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<i64>,
) -> Result<StatusCode, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Account(viewer.user.id))?;
    match web.auth().revoke_token(&viewer.user, id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(WebError::NotFound("you have no such token".to_owned()).into()),
    }
}

/// A number of days as a lifetime.
pub(in crate::web) fn days(days: Option<u32>) -> Option<Duration> {
    days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600))
}
