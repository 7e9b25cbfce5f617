//! A user's own SSH keys.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Deserialize;

use super::actions::unreadable;
use crate::auth::{Action, Resource, SshKey};
use crate::web::Web;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::Path;
use crate::web::viewer::{Viewer, allow};

/// A key to be added.
#[derive(Debug, Deserialize)]
pub(super) struct NewKey {
    /// A line as in `id_ed25519.pub`.
    public_key: String,
    /// What to call it; without one, what the line calls it.
    #[serde(default)]
    comment: String,
}

/// `GET /news/api/forge/ssh-keys`
pub(super) async fn list(viewer: Viewer, State(web): State<Web>) -> Result<Json<Vec<SshKey>>, ApiError> {
    allow(&viewer.principal, Action::Read, Resource::Account(viewer.user.id))?;
    Ok(Json(web.auth().list_ssh_keys(&viewer.user).await?))
}

/// `POST /news/api/forge/ssh-keys` with `{"public_key": …, "comment": …}`
pub(super) async fn add(
    viewer: Viewer,
    State(web): State<Web>,
    body: Result<Json<NewKey>, JsonRejection>,
) -> Result<(StatusCode, Json<SshKey>), ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Account(viewer.user.id))?;
    let Json(new) = body.map_err(|rejection| unreadable(&rejection))?;
    let key = web.auth().add_ssh_key(&viewer.user, &new.public_key, &new.comment).await?;
    Ok((StatusCode::CREATED, Json(key)))
}

/// `DELETE /news/api/forge/ssh-keys/{id}`
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
