//! Sends a file, whole or in part: `Range`, `ETag`, `If-Range`, `If-None-Match` (RFC 9110).
//!
//! Invariants: a file is never whole in memory; a part is only sent to who has the rest of the same bytes, as far as they said
//! which they have.

use std::fs::File;
use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt as _;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::code::Code;
use super::error::{ApiError, WebError};

const PIECE_BYTES: usize = 64 * 1024;

/// A file that is open, and what identifies the bytes that it has now.
pub(super) struct Part {
    file: File,
    length: u64,
    tag: String,
}

impl Part {
    /// Looks at a file. Blocks.
    pub(super) fn of(file: File) -> Result<Part, WebError> {
        let found = file.metadata().map_err(|error| WebError::internal(&error))?;
        let (length, nanos) = (found.len(), found.mtime_nsec());
        let tag = format!("\"{:x}-{length:x}-{:x}-{nanos:x}\"", found.ino(), found.mtime());
        Ok(Part { file, length, tag })
    }

    /// Answers a request for it.
    pub(super) async fn answer(
        self,
        request: &HeaderMap,
        content_type: &'static str,
    ) -> Result<Response, WebError> {
        let text = |name| request.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if let Some(known) = text(header::IF_NONE_MATCH)
            && (known.trim() == "*"
                || known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.tag))
        {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, self.tag)]).into_response());
        }
        // A date is never exact enough here, and so is no match.
        let is_same = text(header::IF_RANGE).is_none_or(|tag| tag.trim() == self.tag);
        let range = text(header::RANGE).filter(|_| is_same);
        let range = range.map_or(Range::Whole, |range| Range::parse(range, self.length));
        self.send(range, content_type).await
    }

    async fn send(self, range: Range, content_type: &'static str) -> Result<Response, WebError> {
        let length = self.length;
        let (status, start, bytes) = match range {
            Range::Whole => (StatusCode::OK, 0, length),
            Range::Part { start, bytes } => (StatusCode::PARTIAL_CONTENT, start, bytes),
            Range::Unsatisfiable => {
                let content_range = (header::CONTENT_RANGE, format!("bytes */{length}"));
                let message = format!("there are {length} bytes, and none of the range");
                let refused = ApiError(WebError::Refused(Code::RangeNotSatisfiable, message));
                return Ok(([content_range], refused).into_response());
            }
        };
        let mut file = tokio::fs::File::from_std(self.file);
        file.seek(SeekFrom::Start(start)).await.map_err(|error| WebError::internal(&error))?;
        let body = Body::from_stream(ReaderStream::with_capacity(file.take(bytes), PIECE_BYTES));
        let headers = [
            (header::CONTENT_TYPE, content_type.to_owned()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            (header::ETAG, self.tag),
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
}

/// The part of a file that a request wants.
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
