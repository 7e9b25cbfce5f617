//! `GET /news/api/forge/pikaci/logs/{run_id}/raw?job=&kind=guest|host&attempt=`: a log as it is, in whole or in part.
//!
//! Invariant: a log is never whole in memory.

use std::io::SeekFrom;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::web::code::Code;
use crate::web::error::{ApiError, WebError};
use crate::web::extract::{Path, Query};
use crate::web::viewer::Viewer;
use crate::web::{Web, runs};

const PIECE_BYTES: usize = 64 * 1024;

/// What may be asked for.
#[derive(Debug, Deserialize)]
pub(super) struct RawLogQuery {
    job: Option<String>,
    kind: Option<String>,
    /// An earlier attempt; without it the latest.
    attempt: Option<u32>,
}

/// Streams a log; with `Range: bytes=…` a part of it.
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
    let (file, length) = runs::read(move || {
        let missing = || WebError::NotFound(format!("job {job} of run {} has no such log", found.run));
        let file = pikaci::store::open_log(&found.state, &found.run, &job, side, query.attempt)?;
        let file = file.ok_or_else(missing)?;
        let length = file.metadata().map_err(|error| WebError::internal(&error))?.len();
        Ok((file, length))
    })
    .await?;
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    Ok(send(file, length, range.map_or(Range::Whole, |range| Range::parse(range, length))).await?)
}

async fn send(file: std::fs::File, length: u64, range: Range) -> Result<Response, WebError> {
    let (status, start, bytes) = match range {
        Range::Whole => (StatusCode::OK, 0, length),
        Range::Part { start, bytes } => (StatusCode::PARTIAL_CONTENT, start, bytes),
        Range::Unsatisfiable => {
            let content_range = (header::CONTENT_RANGE, format!("bytes */{length}"));
            let message = format!("the log has {length} bytes, and none of the range");
            let refused = ApiError(WebError::Refused(Code::RangeNotSatisfiable, message));
            return Ok(([content_range], refused).into_response());
        }
    };
    let mut file = tokio::fs::File::from_std(file);
    file.seek(SeekFrom::Start(start)).await.map_err(|error| WebError::internal(&error))?;
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(bytes), PIECE_BYTES));
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
    ];
    let mut response = (status, headers, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let content_range = format!("bytes {start}-{}/{length}", start + bytes - 1);
        let content_range =
            content_range.parse().map_err(|_| WebError::bad_request("this range can't be sent"))?;
        response.headers_mut().insert(header::CONTENT_RANGE, content_range);
    }
    Ok(response)
}

/// The part of a log that a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part { start: u64, bytes: u64 },
    Unsatisfiable,
}

impl Range {
    /// Reads a `Range` header (RFC 9110, section 14). What can't be understood, and several ranges, mean the whole.
    fn parse(text: &str, length: u64) -> Range {
        let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-'))
        else {
            return Range::Whole;
        };
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let (start, end) = match (first.trim(), last.trim()) {
            ("", last) => match number(last) {
                Some(0) => return Range::Unsatisfiable,
                Some(bytes) => (length.saturating_sub(bytes), length),
                None => return Range::Whole,
            },
            (first, "") => match number(first) {
                Some(first) => (first, length),
                None => return Range::Whole,
            },
            (first, last) => match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(length)),
                _ => return Range::Whole,
            },
        };
        if start >= length { Range::Unsatisfiable } else { Range::Part { start, bytes: end - start } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_there_is() {
        let part = |start, bytes| Range::Part { start, bytes };
        for (text, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-5", part(2, 4)),
            ("bytes=7-", part(7, 3)),
            ("bytes=-4", part(6, 4)),
            ("bytes=-400", part(0, 10)),
            ("bytes=5-99999", part(5, 5)),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=5-2", Range::Whole),
            ("bytes=0-1,4-5", Range::Whole),
            ("lines=1-2", Range::Whole),
            ("bytes=99999999999999999999-", Range::Whole),
        ] {
            assert_eq!(Range::parse(text, 10), expected, "{text}");
        }
        assert_eq!(Range::parse("bytes=0-", 0), Range::Unsatisfiable);
    }
}
