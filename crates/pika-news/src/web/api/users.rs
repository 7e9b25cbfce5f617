//! Users of the forge, for its administrators.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::actions::unreadable;
use crate::auth::{Account, Action, Resource};
use crate::web::Web;
use crate::web::error::ApiError;
use crate::web::extract::{Path, Query};
use crate::web::viewer::{Viewer, allow};

const USERS_PER_PAGE: u32 = 100;

/// Where a page of the list begins.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct UsersQuery {
    after: Option<String>,
}

/// A page of users, by name.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Users {
    users: Vec<Account>,
    /// What `after` is to be for the next page.
    next: Option<String>,
}

/// Somebody to be added.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    name: String,
    #[serde(default)]
    is_admin: bool,
}

/// Whether a user administers the forge.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRole {
    is_admin: bool,
}

/// Lists users by name.
#[utoipa::path(
    get, path = "/news/api/forge/users", tag = "people",
    params(UsersQuery),
    responses((status = 200, body = Users))
)]
pub(super) async fn list(
    viewer: Viewer,
    State(web): State<Web>,
    Query(query): Query<UsersQuery>,
) -> Result<Json<Users>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    let mut users = web.auth().list_users(query.after.as_deref(), USERS_PER_PAGE + 1).await?;
    let has_more = users.len() > USERS_PER_PAGE as usize;
    users.truncate(USERS_PER_PAGE as usize);
    let next = users.last().filter(|_| has_more).map(|user| user.name.clone());
    Ok(Json(Users { users, next }))
}

/// Adds a user.
#[utoipa::path(
    post, path = "/news/api/forge/users", tag = "people",
    request_body = NewUser,
    responses((status = 201, body = Account))
)]
pub(super) async fn add(
    viewer: Viewer,
    State(web): State<Web>,
    body: Result<Json<NewUser>, JsonRejection>,
) -> Result<(StatusCode, Json<Account>), ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    let Json(new) = body.map_err(|rejection| unreadable(&rejection))?;
    let account = web.auth().add_user(&viewer.user.name, &new.name, new.is_admin).await?;
    Ok((StatusCode::CREATED, Json(account)))
}

/// Removes a user.
#[utoipa::path(
    delete, path = "/news/api/forge/users/{name}", tag = "people",
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 204, description = "Done"))
)]
pub(super) async fn remove(
    viewer: Viewer,
    State(web): State<Web>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    web.auth().remove_user(&viewer.user.name, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends every right of a user at once.
#[utoipa::path(
    post, path = "/news/api/forge/users/{name}/disable", tag = "people",
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 200, body = Account))
)]
pub(super) async fn disable(
    viewer: Viewer,
    State(web): State<Web>,
    Path(name): Path<String>,
) -> Result<Json<Account>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    web.auth().set_disabled(&viewer.user.name, &name, true).await?;
    Ok(Json(web.auth().account(&name).await?))
}

/// Gives a disabled user their rights back.
#[utoipa::path(
    post, path = "/news/api/forge/users/{name}/enable", tag = "people",
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 200, body = Account))
)]
pub(super) async fn enable(
    viewer: Viewer,
    State(web): State<Web>,
    Path(name): Path<String>,
) -> Result<Json<Account>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    web.auth().set_disabled(&viewer.user.name, &name, false).await?;
    Ok(Json(web.auth().account(&name).await?))
}

/// Makes a user an administrator of the forge, or takes that.
#[utoipa::path(
    put, path = "/news/api/forge/users/{name}/role", tag = "people",
    params(("name" = String, Path, description = "The user's name")),
    request_body = NewRole,
    responses((status = 200, body = Account))
)]
pub(super) async fn set_role(
    viewer: Viewer,
    State(web): State<Web>,
    Path(name): Path<String>,
    body: Result<Json<NewRole>, JsonRejection>,
) -> Result<Json<Account>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    let Json(role) = body.map_err(|rejection| unreadable(&rejection))?;
    web.auth().set_administrator(&viewer.user.name, &name, role.is_admin).await?;
    Ok(Json(web.auth().account(&name).await?))
}
