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
#[derive(Debug, Deserialize)]
pub(super) struct UsersQuery {
    after: Option<String>,
}

/// A page of users, by name.
#[derive(Debug, Serialize)]
pub(super) struct Users {
    users: Vec<Account>,
    /// What `after` is to be for the next page.
    next: Option<String>,
}

/// Somebody to be added.
#[derive(Debug, Deserialize)]
pub(super) struct NewUser {
    name: String,
    #[serde(default)]
    is_admin: bool,
}

/// Whether a user administers the forge.
#[derive(Debug, Deserialize)]
pub(super) struct NewRole {
    is_admin: bool,
}

/// `GET /news/api/forge/users?after=`
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

/// `POST /news/api/forge/users` with `{"name": …, "is_admin": …}`
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

/// `DELETE /news/api/forge/users/{name}`
pub(super) async fn remove(
    viewer: Viewer,
    State(web): State<Web>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    web.auth().remove_user(&viewer.user.name, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /news/api/forge/users/{name}/disable`
pub(super) async fn disable(
    viewer: Viewer,
    State(web): State<Web>,
    Path(name): Path<String>,
) -> Result<Json<Account>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    web.auth().set_disabled(&viewer.user.name, &name, true).await?;
    Ok(Json(web.auth().account(&name).await?))
}

/// `POST /news/api/forge/users/{name}/enable`
pub(super) async fn enable(
    viewer: Viewer,
    State(web): State<Web>,
    Path(name): Path<String>,
) -> Result<Json<Account>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    web.auth().set_disabled(&viewer.user.name, &name, false).await?;
    Ok(Json(web.auth().account(&name).await?))
}

/// `PUT /news/api/forge/users/{name}/role` with `{"is_admin": …}`
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
