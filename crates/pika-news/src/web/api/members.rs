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
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMember {
    role: String,
}

/// Lists who has a role in a repository.
#[utoipa::path(
    get, path = "/news/api/forge/repository/{name}/members", tag = "people",
    params(("name" = String, Path, description = "The repository's name")),
    responses((status = 200, body = Vec<Member>))
)]
pub(super) async fn list(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
) -> Result<Json<Vec<Member>>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Repository(&repository))?;
    let id = web.forge().hosted(&repository)?.id;
    Ok(Json(web.auth().list_members(id).await?))
}

/// Gives somebody a role: `read`, `write` or `admin`.
#[utoipa::path(
    put, path = "/news/api/forge/repository/{name}/members/{user}", tag = "people",
    params(("name" = String, Path, description = "The repository's name"), ("user" = String, Path, description = "The user's name")),
    request_body = NewMember,
    responses((status = 200, body = Vec<Member>))
)]
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

/// Takes somebody's role.
#[utoipa::path(
    delete, path = "/news/api/forge/repository/{name}/members/{user}", tag = "people",
    params(("name" = String, Path, description = "The repository's name"), ("user" = String, Path, description = "The user's name")),
    responses((status = 204, description = "Done"))
)]
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
