//! Webhooks of a repository, for its administrators.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::super::actions::unreadable;
use super::super::page::{Page, PageAnswer, PageQuery, Paged};
use crate::auth::{Action, Resource};
use crate::forge::webhook::{Delivery, Webhook};
use crate::web::Web;
use crate::web::error::ApiError;
use crate::web::extract::Path;
use crate::web::viewer::{Viewer, must};

/// A webhook to be added.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWebhook {
    /// Whom to send events to: `https://…` or `http://…`.
    url: String,
    /// Which kinds of events; all without any.
    #[serde(default)]
    kinds: Vec<String>,
}

/// A webhook that was added.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct AddedWebhook {
    /// The key of its signatures. It is shown this once.
    secret: String,
    #[serde(flatten)]
    webhook: Webhook,
}

/// Lists the webhooks of a repository.
#[utoipa::path(
    get, path = "/news/api/v1/repositories/{repository}/webhooks", tag = "webhooks",
    params(("repository" = String, Path, description = "Its name"), PageQuery),
    responses((status = 200, body = Page<Webhook>))
)]
pub(super) async fn list(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
    page: Paged,
) -> Result<PageAnswer<Webhook>, ApiError> {
    must(&viewer, Action::Administer, Resource::Repository(&repository))?;
    let after = page.after_number()?.unwrap_or(0);
    let rows = web.forge().webhooks_after(&repository, after, page.rows()).await?;
    Ok(page.answer(rows, |row| row.id.to_string()))
}

/// Adds a webhook that is told of what happens from now on.
#[utoipa::path(
    post, path = "/news/api/v1/repositories/{repository}/webhooks", tag = "webhooks",
    params(("repository" = String, Path, description = "Its name")),
    request_body = NewWebhook,
    responses((status = 201, body = AddedWebhook))
)]
pub(super) async fn add(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
    body: Result<Json<NewWebhook>, JsonRejection>,
) -> Result<(StatusCode, Json<AddedWebhook>), ApiError> {
    must(&viewer, Action::Administer, Resource::Repository(&repository))?;
    let Json(new) = body.map_err(|rejection| unreadable(&rejection))?;
    let actor = &viewer.user.name;
    let (webhook, secret) = web.forge().add_webhook(&repository, &new.url, &new.kinds, actor).await?;
    Ok((StatusCode::CREATED, Json(AddedWebhook { secret, webhook })))
}

/// Removes a webhook. What is on its way is not sent.
#[utoipa::path(
    delete, path = "/news/api/v1/repositories/{repository}/webhooks/{webhook_id}", tag = "webhooks",
    params(
        ("repository" = String, Path, description = "Its name"), ("webhook_id" = i64, Path, description = "The webhook's number")
    ),
    responses((status = 204, description = "Done"))
)]
pub(super) async fn remove(
    viewer: Viewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, i64)>,
) -> Result<StatusCode, ApiError> {
    must(&viewer, Action::Administer, Resource::Repository(&repository))?;
    web.forge().remove_webhook(&repository, id, &viewer.user.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists what was sent to a webhook and what waits, the latest first.
#[utoipa::path(
    get, path = "/news/api/v1/repositories/{repository}/webhooks/{webhook_id}/deliveries", tag = "webhooks",
    params(
        ("repository" = String, Path, description = "Its name"), ("webhook_id" = i64, Path, description = "The webhook's number"),
        PageQuery
    ),
    responses((status = 200, body = Page<Delivery>))
)]
pub(super) async fn deliveries(
    viewer: Viewer,
    State(web): State<Web>,
    Path((repository, id)): Path<(String, i64)>,
    page: Paged,
) -> Result<PageAnswer<Delivery>, ApiError> {
    must(&viewer, Action::Administer, Resource::Repository(&repository))?;
    let rows = web.forge().deliveries_after(&repository, id, page.after_number()?, page.rows()).await?;
    Ok(page.answer(rows, |row| row.id.to_string()))
}

/// Sends once more what was sent, as a delivery of its own.
#[utoipa::path(
    post, path = "/news/api/v1/repositories/{repository}/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    tag = "webhooks",
    params(
        ("repository" = String, Path, description = "Its name"), ("webhook_id" = i64, Path, description = "The webhook's number"),
        ("delivery_id" = i64, Path, description = "The delivery's number")
    ),
    responses((status = 201, description = "The new delivery", body = Delivery))
)]
pub(super) async fn redeliver(
    viewer: Viewer,
    State(web): State<Web>,
    Path((repository, webhook, id)): Path<(String, i64, i64)>,
) -> Result<(StatusCode, Json<Delivery>), ApiError> {
    must(&viewer, Action::Administer, Resource::Repository(&repository))?;
    Ok((StatusCode::CREATED, Json(web.forge().redeliver(&repository, webhook, id).await?)))
}
