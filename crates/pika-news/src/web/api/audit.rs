//! The audit log, for those who decide about rights. It can be read, and nothing else.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::auth::{Action, AuditEntry, Resource};
use crate::web::Web;
use crate::web::error::ApiError;
use crate::web::extract::{Path, Query};
use crate::web::viewer::{Viewer, allow};

const ENTRIES_DEFAULT: u32 = 50;
const ENTRIES_MAX: u32 = 200;

/// Which part is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    before: Option<i64>,
    limit: Option<u32>,
}

/// A part of the log, the newest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct AuditLog {
    entries: Vec<AuditEntry>,
    /// What `before` is to be for the next part.
    next: Option<i64>,
}

/// Shows a part of the audit log, the newest first.
#[utoipa::path(
    get, path = "/news/api/forge/audit", tag = "people",
    params(AuditQuery),
    responses((status = 200, body = AuditLog))
)]
pub(super) async fn list(
    viewer: Viewer,
    State(web): State<Web>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditLog>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    read(&web, None, &query).await
}

/// Shows a part of what the audit log has of a repository, the newest first.
#[utoipa::path(
    get, path = "/news/api/forge/repository/{name}/audit", tag = "people",
    params(("name" = String, Path, description = "The repository's name"), AuditQuery),
    responses((status = 200, body = AuditLog))
)]
pub(super) async fn list_of_repository(
    viewer: Viewer,
    State(web): State<Web>,
    Path(repository): Path<String>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditLog>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Repository(&repository))?;
    read(&web, Some(web.forge().hosted(&repository)?.id), &query).await
}

async fn read(
    web: &Web,
    repository: Option<crate::forge::id::RepositoryId>,
    query: &AuditQuery,
) -> Result<Json<AuditLog>, ApiError> {
    let limit = query.limit.unwrap_or(ENTRIES_DEFAULT).clamp(1, ENTRIES_MAX);
    let mut entries = web.auth().list_audit(repository, query.before, limit + 1).await?;
    let has_more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next = entries.last().filter(|_| has_more).map(|entry| entry.id);
    Ok(Json(AuditLog { entries, next }))
}
