//! The files that a job left.
//!
//! Invariants: links are not followed, neither in the list nor to a file; a browser stores a file and shows none; how many are
//! looked at is bounded, whatever the guest left.

use std::fs;
use std::path::{Path as FilePath, PathBuf};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use pikaci::{JobId, RunId, StateRoot, guest};
use serde::Serialize;

use super::super::page::{Page, PageAnswer, PageQuery, Paged, percent_encoded};
use super::jobs::named;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::Path;
use crate::web::part::Part;
use crate::web::viewer::Viewer;
use crate::web::{Web, runs};

const ENTRIES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 16;

/// A file that a job left.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
pub(super) struct Artifact {
    /// Its path, below `/artifacts` of the guest.
    path: String,
    /// How long it is.
    bytes: u64,
}

/// Lists the files that a job's latest attempt left, by path. Of more than 10,000 the rest is left out.
#[utoipa::path(
    get, path = "/news/api/v1/runs/{run_id}/jobs/{job}/artifacts", tag = "runs",
    params(
        ("run_id" = String, Path, description = "The run of pikaci"), ("job" = String, Path, description = "The job"), PageQuery
    ),
    responses((status = 200, body = Page<Artifact>))
)]
pub(super) async fn artifacts(
    viewer: Viewer,
    State(web): State<Web>,
    Path((run, job)): Path<(String, String)>,
    page: Paged,
) -> Result<PageAnswer<Artifact>, ApiError> {
    let found = runs::find(&web, &viewer.principal, &run).await?;
    let job = runs::job(&found, Some(&named(&job)?)).await?;
    let mut all = runs::read(move || Ok(list(&found.state, &found.run, &job))).await?;
    all.sort();
    let rows = all.into_iter().filter(|file| page.after().is_none_or(|after| file.path.as_str() > after));
    let rows = rows.take(page.rows() as usize).collect();
    Ok(page.answer(rows, |row| row.path.clone()))
}

/// Sends a file that a job's latest attempt left, or a part of it.
#[utoipa::path(
    get, path = "/news/api/v1/runs/{run_id}/jobs/{job}/artifacts/{*path}", tag = "runs",
    params(
        ("run_id" = String, Path, description = "The run of pikaci"), ("job" = String, Path, description = "The job"),
        ("path" = String, Path, description = "The file's path, as the list has it"),
        ("Range" = Option<String>, Header, description = "`bytes=FIRST-LAST`"),
    ),
    responses(
        (status = 200, description = "The file", body = String, content_type = "application/octet-stream"),
        (status = 206, description = "The part", body = String, content_type = "application/octet-stream"),
        (status = 304, description = "It is as `If-None-Match` says")
    )
)]
pub(super) async fn download(
    viewer: Viewer,
    State(web): State<Web>,
    Path((run, job, path)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = runs::find(&web, &viewer.principal, &run).await?;
    let job = runs::job(&found, Some(&named(&job)?)).await?;
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let part = runs::read(move || {
        let missing = || WebError::NotFound("the job left no such file".to_owned());
        let relative = PathBuf::from(pikaci::store::guest_log_path(&job)).with_file_name("").join(&path);
        if is_of_the_runner(&path) || path.starts_with('/') {
            return Err(missing());
        }
        let file = pikaci::store::open_in_run(&found.state, &found.run, &relative)?;
        Part::of(file.ok_or_else(missing)?)
    })
    .await?;
    let mut response = part.answer(&headers, "application/octet-stream").await?;
    let disposition = format!("attachment; filename*=UTF-8''{}", percent_encoded(&name));
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// The log and the result, which have routes of their own.
fn is_of_the_runner(path: &str) -> bool {
    path == guest::LOG_NAME || path == guest::RESULT_NAME
}

fn list(state: &StateRoot, run: &RunId, job: &JobId) -> Vec<Artifact> {
    let folder = state.artifacts_dir(run, job);
    // A job without a sandbox can put a link in the place of its own folder.
    let is_folder = |path: &FilePath| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let mut open = match folder.parent() {
        Some(parent) if is_folder(parent) && is_folder(&folder) => vec![(PathBuf::new(), 0)],
        Some(_) | None => Vec::new(),
    };
    let (mut found, mut rest) = (Vec::new(), ENTRIES_MAX);
    while let Some((below, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(folder.join(&below)) else { continue };
        for entry in entries.flatten() {
            if rest == 0 {
                return found;
            }
            rest -= 1;
            // Of the entry itself: a link is neither.
            let (path, Ok(metadata)) = (below.join(entry.file_name()), entry.metadata()) else { continue };
            if metadata.is_dir() && depth < DEPTH_MAX {
                open.push((path, depth + 1));
            } else if metadata.is_file() {
                found.push(Artifact { path: path.to_string_lossy().into_owned(), bytes: metadata.len() });
            }
        }
    }
    found.retain(|file| !is_of_the_runner(&file.path));
    found
}
