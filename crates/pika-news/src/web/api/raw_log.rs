//! `GET /news/api/forge/pikaci/logs/{run_id}/raw?job=&kind=guest|host&attempt=`: a log as it is, in whole or in part.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use crate::web::error::{ApiError, WebError};
use crate::web::extract::{Path, Query};
use crate::web::part::Part;
use crate::web::viewer::Viewer;
use crate::web::{Web, runs};

/// What may be asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RawLogQuery {
    /// The job; without it the first that did not pass.
    job: Option<String>,
    /// `guest`, as without it, or `host`.
    kind: Option<String>,
    /// An earlier attempt; without it the latest.
    attempt: Option<u32>,
}

/// Streams a log; with `Range: bytes=…` a part of it.
#[utoipa::path(
    get, path = "/news/api/forge/pikaci/logs/{run_id}/raw", tag = "runs",
    params(("run_id" = String, Path, description = "The run of pikaci"), RawLogQuery, ("Range" = Option<String>, Header, description = "`bytes=FIRST-LAST`")),
    responses((status = 200, description = "The log", body = String, content_type = "text/plain; charset=utf-8"), (status = 206, description = "The part", body = String, content_type = "text/plain; charset=utf-8"), (status = 304, description = "It is as `If-None-Match` says"))
)]
pub(super) async fn show(
    viewer: Viewer,
    State(web): State<Web>,
    Path(run): Path<String>,
    Query(query): Query<RawLogQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = runs::find(&web, &viewer.principal, &run).await?;
    let job = runs::job(&found, query.job.as_deref()).await?;
    let side = runs::side(query.kind.as_deref())?;
    let part = runs::read(move || {
        let missing = || WebError::NotFound(format!("job {job} of run {} has no such log", found.run));
        let file = pikaci::store::open_log(&found.state, &found.run, &job, side, query.attempt)?;
        Part::of(file.ok_or_else(missing)?)
    })
    .await?;
    Ok(part.answer(&headers, "text/plain; charset=utf-8").await?)
}
