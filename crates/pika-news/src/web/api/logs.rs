//! `GET /news/api/forge/pikaci/logs/{run_id}?job=&kind=host|guest|both`

use axum::Json;
use axum::extract::State;
use pikaci::{JobId, LogKind, RunId, RunJobLogMetadata};
use serde::{Deserialize, Serialize};

use crate::web::error::{ApiError, WebError};
use crate::web::extract::{Path, Query};
use crate::web::viewer::Viewer;
use crate::web::{Web, runs};

/// The most of one log that is sent inline: its end. The whole is at `…/raw`.
const INLINE_BYTES_MAX: usize = 1024 * 1024;

/// What may be asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    job: Option<String>,
    kind: Option<String>,
}

/// A job's logs as text. A side that was not asked for, or is not there, is `null`.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct LogsResponse {
    #[schema(value_type = String)]
    pub(super) run_id: RunId,
    #[schema(value_type = String)]
    pub(super) job: JobId,
    pub(super) host: Option<String>,
    pub(super) guest: Option<String>,
    /// Whether the beginning of `host` was left out.
    pub(super) host_is_cut: bool,
    /// Whether the beginning of `guest` was left out.
    pub(super) guest_is_cut: bool,
    /// How long the whole log is.
    pub(super) host_bytes: u64,
    /// How long the whole log is.
    pub(super) guest_bytes: u64,
}

/// Returns a job's logs; without a job those of the first that did not pass. Of more than 1 MiB the end.
#[utoipa::path(
    get, path = "/news/api/forge/pikaci/logs/{run_id}", tag = "runs",
    params(("run_id" = String, Path, description = "The run of pikaci"), LogsQuery),
    responses((status = 200, body = LogsResponse))
)]
pub(super) async fn show(
    viewer: Viewer,
    State(web): State<Web>,
    Path(run): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Json<LogsResponse>, ApiError> {
    let found = runs::find(&web, &viewer.principal, &run).await?;
    let job = runs::job(&found, query.job.as_deref()).await?;
    let kind = match query.kind.as_deref().unwrap_or("both") {
        "both" | "" => LogKind::Both,
        "host" => LogKind::Host,
        "guest" => LogKind::Guest,
        _ => return Err(WebError::bad_request("`kind` is `host`, `guest` or `both`").into()),
    };
    let response = runs::read(move || {
        let metadata = pikaci::load_logs_metadata(&found.state, &found.run, Some(&job))?;
        let logs = pikaci::load_logs(&found.state, &found.run, Some(&job), kind)?;
        Ok(response(found.run, job, logs, metadata.jobs.first()))
    });
    Ok(Json(response.await?))
}

fn response(
    run_id: RunId,
    job: JobId,
    logs: pikaci::Logs,
    metadata: Option<&RunJobLogMetadata>,
) -> LogsResponse {
    let (host, host_is_cut) = end_of(logs.host);
    let (guest, guest_is_cut) = end_of(logs.guest);
    LogsResponse {
        run_id,
        job,
        host,
        guest,
        host_is_cut,
        guest_is_cut,
        host_bytes: metadata.map_or(0, |job| job.host_log_bytes),
        guest_bytes: metadata.map_or(0, |job| job.guest_log_bytes),
    }
}

fn end_of(text: Option<String>) -> (Option<String>, bool) {
    match text {
        Some(text) if text.len() > INLINE_BYTES_MAX => {
            let wanted = text.len() - INLINE_BYTES_MAX;
            let start = (wanted..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            (Some(text[start..].to_owned()), true)
        }
        text => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_end_is_sent_and_characters_stay_whole() {
        let (text, is_cut) = end_of(Some(format!("{}end", "é".repeat(INLINE_BYTES_MAX))));
        let text = text.unwrap();
        assert!(is_cut && text.len() <= INLINE_BYTES_MAX && text.ends_with("éend"));
        assert_eq!(end_of(Some("short".to_owned())), (Some("short".to_owned()), false));
    }
}
