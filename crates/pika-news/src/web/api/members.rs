//! Who has a role in a repository, for its administrators.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Deserialize;

use super::actions::unreadable;
use crate::auth::{Action, Member, Resource, Role};
use crate::web::Web;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::Path;
use crate::web::viewer::{Viewer, allow};

/// The role that somebody is to have.
#[derive(Debug, Deserialize)]
pub(super) struct NewMember {
    role: String,
}

/// `GET /news/api/forge/repository/{name}/members`
pub(super) async fn list(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
) -> Result<Json<Vec<Member>>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Repository(&repository))?;
    let id = web.forge().hosted(&repository)?.id;
    Ok(Json(web.auth().list_members(id).await?))
}

/// `PUT /news/api/forge/repository/{name}/members/{user}` with `{"role": "read"|"write"|"admin"}`
pub(super) async fn set(
    viewer: Viewer,
    State(web): State<Web>,
    Path((repository, user)): Path<(String, String)>,
    body: Result<Json<NewMember>, JsonRejection>,
) -> Result<Json<Vec<Member>>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Repository(&repository))?;
    let Json(new) = body.map_err(|rejection| unreadable(&rejection))?;
    let role = Role::parse(&new.role)
        .ok_or_else(|| WebError::bad_request("`role` is `read`, `write` or `admin`"))?;
    let id = web.forge().hosted(&repository)?.id;
    web.auth().set_member(&viewer.user.name, (id, &repository), &user, Some(role)).await?;
    Ok(Json(web.auth().list_members(id).await?))
}

/// `DELETE /news/api/forge/repository/{name}/members/{user}`
pub(super) async fn remove(
    viewer: Viewer,
    State(web): State<Web>,
    Path((repository, user)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Repository(&repository))?;
    let id = web.forge().hosted(&repository)?.id;
    web.auth().set_member(&viewer.user.name, (id, &repository), &user, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
