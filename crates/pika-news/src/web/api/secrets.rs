//! Secrets of a repository, for its administrators. Their content is never sent back.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::actions::unreadable;
use crate::auth::{Action, Resource};
use crate::store::SecretRow;
use crate::web::Web;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::Path;
use crate::web::viewer::{Viewer, must};

/// A secret's content: text, or base64 of anything else.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    value: Option<String>,
    value_base64: Option<String>,
}

/// Lists the secrets of a repository, without their content.
#[utoipa::path(
    get, path = "/news/api/forge/repository/{name}/secrets", tag = "secrets",
    params(("name" = String, Path, description = "The repository's name")),
    responses((status = 200, body = Vec<SecretRow>))
)]
pub(super) async fn list(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
) -> Result<Json<Vec<SecretRow>>, ApiError> {
    must(&viewer, Action::Administer, Resource::Repository(&repository))?;
    Ok(Json(web.forge().secrets(&repository).await?))
}

/// Sets a secret, by `value` or `value_base64`.
#[utoipa::path(
    put, path = "/news/api/forge/repository/{name}/secrets/{secret}", tag = "secrets",
    params(("name" = String, Path, description = "The repository's name"), ("secret" = String, Path, description = "The secret's name")),
    request_body = Content,
    responses((status = 204, description = "Done"))
)]
pub(super) async fn set(
    viewer: Viewer,
    State(web): State<Web>,
    Path((repository, secret)): Path<(String, String)>,
    body: Result<Json<Content>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    must(&viewer, Action::Administer, Resource::Repository(&repository))?;
    let Json(body) = body.map_err(|rejection| unreadable(&rejection))?;
    let content = match (body.value, body.value_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(encoded)) => {
            STANDARD.decode(encoded).map_err(|_| WebError::bad_request("`value_base64` is not base64"))?
        }
        _ => return Err(WebError::bad_request("give `value` or `value_base64`").into()),
    };
    web.forge().set_secret(&repository, &secret, &content, &viewer.user.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a secret.
#[utoipa::path(
    delete, path = "/news/api/forge/repository/{name}/secrets/{secret}", tag = "secrets",
    params(("name" = String, Path, description = "The repository's name"), ("secret" = String, Path, description = "The secret's name")),
    responses((status = 204, description = "Done"))
)]
pub(super) async fn remove(
    viewer: Viewer,
    State(web): State<Web>,
    Path((repository, secret)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    must(&viewer, Action::Administer, Resource::Repository(&repository))?;
    web.forge().remove_secret(&repository, &secret, &viewer.user.name).await?;
    Ok(StatusCode::NO_CONTENT)
}
