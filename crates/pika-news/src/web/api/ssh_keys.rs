//! A user's own SSH keys.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Deserialize;

use super::actions::unreadable;
use crate::auth::{Action, Resource, Scopes, SshKey};
use crate::web::Web;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::Path;
use crate::web::viewer::{Viewer, allow, within_own};

/// A key to be added.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// A line as in `id_ed25519.pub`.
    public_key: String,
    /// What to call it; without one, what the line calls it.
    #[serde(default)]
    comment: String,
}

/// Lists one's own SSH keys.
#[utoipa::path(
    get, path = "/news/api/forge/ssh-keys", tag = "people",
    responses((status = 200, body = Vec<SshKey>))
)]
pub(super) async fn list(viewer: Viewer, State(web): State<Web>) -> Result<Json<Vec<SshKey>>, ApiError> {
    allow(&viewer.principal, Action::Read, Resource::Account(viewer.user.id))?;
    Ok(Json(web.auth().list_ssh_keys(&viewer.user).await?))
}

/// Adds an SSH key.
#[utoipa::path(
    post, path = "/news/api/forge/ssh-keys", tag = "people",
    request_body = NewKey,
    responses((status = 201, body = SshKey))
)]
pub(super) async fn add(
    viewer: Viewer,
    State(web): State<Web>,
    body: Result<Json<NewKey>, JsonRejection>,
) -> Result<(StatusCode, Json<SshKey>), ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Account(viewer.user.id))?;
    // A key may do all that its user may.
    within_own(&viewer.principal, &Scopes::all())?;
    let Json(new) = body.map_err(|rejection| unreadable(&rejection))?;
    let key = web.auth().add_ssh_key(&viewer.user, &new.public_key, &new.comment).await?;
    Ok((StatusCode::CREATED, Json(key)))
}

/// Revokes an SSH key.
#[utoipa::path(
    delete, path = "/news/api/forge/ssh-keys/{id}", tag = "people",
    params(("id" = i64, Path, description = "The key's number")),
    responses((status = 204, description = "Done"))
)]
pub(super) async fn revoke(
    viewer: Viewer,
    State(web): State<Web>,
    Path(id): Path<i64>,
) -> Result<StatusCode, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Account(viewer.user.id))?;
    match web.auth().revoke_ssh_key(&viewer.user, id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(WebError::NotFound("you have no such key".to_owned()).into()),
    }
}
