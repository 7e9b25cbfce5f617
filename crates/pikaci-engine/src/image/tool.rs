//! Runs a program for its output, with an end to everything: it is late, it is cancelled, or it fails.
//!
//! Invariant: nothing of the program is left, whichever way it ended. It has a process group of its own, which is ended
//! before its first process is collected, so the group's number can't be somebody else's yet.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio_util::sync::CancellationToken;

use super::ImageError;

/// Between a look at the token and the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// For a program that is told to end: mmdebstrap then removes what it has unpacked.
const GRACE: Duration = Duration::from_secs(20);
/// How much of its last words is kept.
const LAST_LINES: usize = 12;
const LINE_BYTES_MAX: u64 = 4096;

/// When to give up.
pub(super) struct Limits<'a> {
    pub(super) deadline: Instant,
    /// The deadline as the caller said it.
    pub(super) limit: Duration,
    pub(super) cancel: &'a CancellationToken,
}

/// Why a program was ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Late,
    Cancelled,
    /// Nobody reads what it says any more.
    Unread,
}

/// What `read` is given to read from.
pub(super) struct Output<R> {
    inner: R,
    is_at_end: bool,
}

impl<R: Read> Read for Output<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.is_at_end |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

/// Runs a program and hands its output to `read`. The program's failure counts more than what `read` made of it.
///
/// `program` is what errors call it; `package` is what brings the command's first word.
pub(super) fn run<T>(
    mut command: Command,
    program: &'static str,
    package: &'static str,
    limits: &Limits<'_>,
    read: impl FnOnce(&mut dyn Read) -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    let path = Path::new(command.get_program()).to_owned();
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start_failed = |source| ImageError::Start { path: path.clone(), package, source };
    let mut child = command.spawn().map_err(start_failed)?;
    let pipe_broke = |error: io::Error| ImageError::io("follow", &path)(error);
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(pipe_broke(io::ErrorKind::BrokenPipe.into()));
    };
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let group = group.ok_or_else(|| pipe_broke(io::ErrorKind::NotFound.into()))?;
    let (orders, watched) = channel();
    let (result, is_whole, ended, message) = thread::scope(|scope| {
        let watch = scope.spawn(move || watch(group, limits, &watched));
        let words = scope.spawn(|| last_words(stderr, program));
        let mut output = Output { inner: stdout, is_at_end: false };
        let result = read(&mut output);
        let is_whole = output.is_at_end || result.is_ok();
        if result.is_ok() {
            // What follows the part that matters: a writer must not meet a closed pipe.
            let _ = io::copy(&mut output, &mut io::sink());
        }
        drop(output);
        if !is_whole {
            let _ = orders.send(());
        }
        // Without collecting it, so that the numbers of process and group stay taken.
        while waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            .is_err_and(|error| error == rustix::io::Errno::INTR)
        {}
        drop(orders);
        let ended = watch.join().unwrap_or(None);
        let _ = kill_process_group(group, Signal::KILL);
        (result, is_whole, ended, words.join().unwrap_or_default())
    });
    let status = child.wait().map_err(pipe_broke)?;
    match ended {
        Some(Ended::Cancelled) => return Err(ImageError::Cancelled),
        Some(Ended::Late) => return Err(ImageError::Late { program, limit: limits.limit }),
        Some(Ended::Unread) | None => {}
    }
    if is_whole && !status.success() {
        return Err(ImageError::Failed { program, status, message });
    }
    result
}

/// Ends the group when it is time to. Returns why, when it did; returns when the sender is dropped.
fn watch(group: Pid, limits: &Limits<'_>, orders: &Receiver<()>) -> Option<Ended> {
    let reason = loop {
        if limits.cancel.is_cancelled() {
            break Ended::Cancelled;
        }
        let left = limits.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Ended::Late;
        }
        match orders.recv_timeout(left.min(LOOK_INTERVAL)) {
            Ok(()) => break Ended::Unread,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    let _ = kill_process_group(group, Signal::TERM);
    let until = Instant::now() + GRACE;
    loop {
        match orders.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return Some(reason),
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    let _ = kill_process_group(group, Signal::KILL);
    Some(reason)
}

/// Logs what a program says, and keeps the last of it.
fn last_words(stderr: ChildStderr, program: &str) -> String {
    let mut reader = BufReader::new(stderr);
    let mut last = VecDeque::new();
    let mut line = Vec::new();
    while reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if text.is_empty() {
            continue;
        }
        tracing::debug!("{program}: {text}");
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(text);
    }
    Vec::from(last).join("\n")
}
