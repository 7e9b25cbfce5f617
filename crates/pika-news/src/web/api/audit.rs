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
#[derive(Debug, Deserialize)]
pub(super) struct AuditQuery {
    before: Option<i64>,
    limit: Option<u32>,
}

/// A part of the log, the newest first.
#[derive(Debug, Serialize)]
pub(super) struct AuditLog {
    entries: Vec<AuditEntry>,
    /// What `before` is to be for the next part.
    next: Option<i64>,
}

/// `GET /news/api/forge/audit?before=&limit=`
pub(super) async fn list(
    viewer: Viewer,
    State(web): State<Web>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditLog>, ApiError> {
    allow(&viewer.principal, Action::Administer, Resource::Forge)?;
    read(&web, None, &query).await
}

/// `GET /news/api/forge/repository/{name}/audit?before=&limit=`
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
