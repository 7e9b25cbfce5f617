//! Moves the bytes of one exchange, with back-pressure in both directions, and notices when nothing moves any more.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{sleep, timeout};

use super::{Service, WireEnd, WireRequest, WireStep};
use crate::error::GitError;
use crate::process::{Group, exit_code, read_complaints};

/// How much is moved at a time: what a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;
/// How long the complaints of a git that has ended may take to arrive.
const GRACE: Duration = Duration::from_secs(2);

/// How many bytes have moved so far, in either direction.
#[derive(Default)]
struct Progress(AtomicU64);

impl Progress {
    fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Returns once nothing has moved for `idle_max`.
    async fn stopped(&self, idle_max: Duration) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            sleep(idle_max).await;
            let now = self.0.load(Ordering::Relaxed);
            if now == seen {
                return;
            }
            seen = now;
        }
    }
}

/// How the way from git to the client ended.
enum OutputEnd {
    Complete,
    ClientGone,
}

/// Runs one exchange to its end. When it fails, git's input is closed, and the group still has to be ended.
pub(super) async fn run(
    request: &WireRequest,
    group: &mut Group,
    (stdout, stderr): (&mut ChildStdout, ChildStderr),
    input: impl AsyncRead + Unpin + Send,
    output: impl AsyncWrite + Unpin + Send,
) -> Result<WireEnd, GitError> {
    let what = request.service.what();
    let stdin = group.take_input();
    let progress = Progress::default();
    let complaints = tokio::spawn(read_complaints(stderr));
    let exchange = async {
        let feed = feed(request, input, stdin, &progress);
        let answer = answer(request.service, stdout, output, &progress);
        tokio::pin!(feed, answer);
        // A fetch ends with its answer. A push is read to its end even when git refuses it early: a client looks at
        // the answer only after it has sent everything.
        tokio::select! {
            ended = &mut answer => {
                let ended = ended?;
                match (request.service, request.step) {
                    (Service::UploadPack, _) => {}
                    // Nothing but the end of this answer tells such a client to stop.
                    (Service::ReceivePack, WireStep::Whole) => drop(timeout(GRACE, feed).await),
                    (Service::ReceivePack, WireStep::Advertise | WireStep::Exchange) => feed.await,
                }
                Ok(ended)
            }
            () = &mut feed => answer.await,
        }
    };
    let ended = tokio::select! {
        ended = exchange => ended.map_err(GitError::io(format!("move bytes between the client and git to {what}")))?,
        () = progress.stopped(request.idle_max) => return Err(GitError::TimedOut { what, limit: request.idle_max }),
        () = sleep(request.deadline) => return Err(GitError::TimedOut { what, limit: request.deadline }),
    };
    if matches!((&ended, request.service), (OutputEnd::ClientGone, Service::UploadPack)) {
        return Ok(WireEnd::ClientGone);
    }
    let waited = timeout(request.idle_max, group.wait()).await;
    let status = waited.map_err(|_| GitError::TimedOut { what, limit: request.idle_max })?;
    let status = status.map_err(GitError::io(format!("wait for git to {what}")))?;
    let stderr = timeout(GRACE, complaints).await.ok().and_then(Result::ok).unwrap_or_default();
    match (exit_code(what, status, stderr)?, ended) {
        (_, OutputEnd::ClientGone) => Ok(WireEnd::ClientGone),
        ((0, _), OutputEnd::Complete) => Ok(WireEnd::Answered),
        ((code, stderr), OutputEnd::Complete) => {
            Err(GitError::Failed { what, status: format!("exit status {code}"), stderr })
        }
    }
}

/// Moves the request to git. Git may stop listening before the end; the rest is then read and dropped.
async fn feed(
    request: &WireRequest,
    mut input: impl AsyncRead + Unpin,
    mut stdin: Option<ChildStdin>,
    progress: &Progress,
) {
    if request.step == WireStep::Advertise {
        return;
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    // An error of the client's is its end: git sees that the request stops short and drops it.
    while let Ok(count @ 1..) = input.read(&mut chunk).await {
        progress.add(count);
        let is_open = match stdin.as_mut() {
            Some(pipe) => pipe.write_all(&chunk[..count]).await.is_ok(),
            None => true,
        };
        if !is_open {
            stdin = None;
        }
    }
}

/// Moves git's answer to the client. When the client is gone, a push is drained, so that git finishes.
async fn answer(
    service: Service,
    mut stdout: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    progress: &Progress,
) -> io::Result<OutputEnd> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut end = OutputEnd::Complete;
    loop {
        let count = stdout.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        progress.add(count);
        if matches!(end, OutputEnd::Complete) && output.write_all(&chunk[..count]).await.is_err() {
            end = OutputEnd::ClientGone;
            if service == Service::UploadPack {
                return Ok(end);
            }
        }
    }
    // What the client does with the end is its own affair.
    let _ = output.shutdown().await;
    Ok(end)
}
