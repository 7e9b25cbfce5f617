//! Joins an HTTP request to git: its body flows in, the answer flows out, as fast as the slower side takes it.
//!
//! Invariant: an answer that git did not finish never looks finished: the connection is cut instead.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pika_git::{GitError, Repository, WireEnd, WireRequest};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio_util::io::{ReaderStream, StreamReader};

use super::{Refusal, refuse};
use crate::turns::Turn;

/// How much of an answer waits for the client: what a pipe holds.
const BUFFER_BYTES: usize = 64 << 10;

type Served = JoinHandle<Result<WireEnd, GitError>>;

/// Runs one exchange and answers with what git says, after `preface`.
///
/// The exchange is a task of its own: a push that arrived whole is stored even when its client hangs up.
pub(super) async fn respond(
    repository: Repository,
    request: WireRequest,
    (body, body_bytes_max): (Body, u64),
    preface: Vec<u8>,
    content_type: &str,
    turn: Turn,
) -> Result<Response, Refusal> {
    let service = request.service;
    let (output, mut answer) = tokio::io::duplex(BUFFER_BYTES);
    let served: Served = tokio::spawn(async move {
        // Git ends a push that is cut off here, and says so to the client.
        let input = StreamReader::new(body.into_data_stream().map_err(io::Error::other)).take(body_bytes_max);
        let ended = repository.serve(&request, Box::pin(input), output).await;
        if let Err(error) = &ended {
            tracing::warn!(%service, %error, repository = %repository.path().display(), "an exchange with a git client failed");
        }
        drop(turn);
        ended
    });
    // The first bytes decide the status: a git that can't even start answers nothing.
    let mut first = vec![0; BUFFER_BYTES];
    let count = answer.read(&mut first).await.unwrap_or(0);
    first.truncate(count);
    if count == 0 {
        match served.await {
            Ok(Ok(_)) => return Ok(with_headers(content_type, Body::from(preface))),
            Ok(Err(_)) | Err(_) => {
                let text = "git could not answer; the forge's log says why\n";
                return Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, text));
            }
        }
    }
    let start = stream::iter([preface, first]).map(|bytes| Ok(Bytes::from(bytes)));
    Ok(with_headers(content_type, Body::from_stream(start.chain(rest(answer, served)))))
}

/// What follows in the answer; an error at its end when git failed, so that the client does not take it for whole.
fn rest(answer: DuplexStream, served: Served) -> impl stream::Stream<Item = io::Result<Bytes>> {
    let end = stream::once(served).filter_map(async |ended| match ended {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(Err(io::Error::other(error))),
        Err(error) => Some(Err(io::Error::other(error))),
    });
    ReaderStream::with_capacity(answer, BUFFER_BYTES).chain(end)
}

fn with_headers(content_type: &str, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache, max-age=0, must-revalidate"),
        (header::PRAGMA, "no-cache"),
        (header::EXPIRES, "Fri, 01 Jan 1980 00:00:00 GMT"),
    ];
    (headers, body).into_response()
}
