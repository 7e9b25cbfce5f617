//! Runs one call of git: feeds it, reads it within bounds, and ends it with everything it started.
//!
//! Invariant: when a [`Running`] or a future of this file is dropped, no process of its group lives on.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout, timeout_at};

use crate::command::Call;
use crate::error::GitError;

/// How much of git's complaints is kept: the end, which says why.
const STDERR_BYTES_MAX: usize = 4096;
/// How long a process may take to die once it was told to.
const GRACE: Duration = Duration::from_secs(2);

/// What a call left.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn into_error(self, what: &'static str) -> GitError {
        GitError::Failed { what, status: format!("exit status {}", self.code), stderr: self.stderr }
    }
}

/// Runs a call to its end.
pub(crate) async fn run(mut call: Call) -> Result<Finished, GitError> {
    let what = call.what;
    let bytes_max = call.output_bytes_max;
    let input = std::mem::take(&mut call.input);
    let (mut running, answer) = Running::start(&call)?;
    let mut stdin = running.group.take_input();
    let feed = async {
        if let Some(mut stdin) = stdin.take() {
            // Git may end without having read everything; its exit status then says why.
            let _ = stdin.write_all(&input).await;
        }
    };
    let read = async {
        let mut stdout = Vec::new();
        answer.take(bytes_max.saturating_add(1)).read_to_end(&mut stdout).await.map(|_| stdout)
    };
    let both = async { tokio::join!(feed, read).1.map_err(reading(what)) };
    let stdout = running.within(both).await?;
    if stdout.len() as u64 > bytes_max {
        return Err(GitError::TooLarge { what: format!("git's answer when asked to {what}"), bytes_max });
    }
    let (code, stderr) = running.finish().await?;
    Ok(Finished { code, stdout, stderr })
}

/// A call that has been started.
pub(crate) struct Running {
    what: &'static str,
    limit: Duration,
    ends_at: Instant,
    complaints: tokio::task::JoinHandle<String>,
    group: Group,
}

impl Running {
    /// Starts a call; returns it and its answer, to be read.
    pub(crate) fn start(call: &Call) -> Result<(Running, BufReader<ChildStdout>), GitError> {
        let mut group = Group::start(call, Signal::KILL)?;
        let (stdout, stderr) = group.take_output()?;
        let running = Running {
            what: call.what,
            limit: call.deadline,
            ends_at: Instant::now() + call.deadline,
            complaints: tokio::spawn(read_complaints(stderr)),
            group,
        };
        Ok((running, BufReader::with_capacity(64 << 10, stdout)))
    }

    /// Waits, until the call's deadline, for something that is read from its answer.
    pub(crate) async fn within<T>(
        &self,
        reading: impl Future<Output = Result<T, GitError>>,
    ) -> Result<T, GitError> {
        timeout_at(self.ends_at, reading).await.unwrap_or_else(|_| Err(self.timed_out()))
    }

    /// Waits for the end; returns the exit code and what git complained about.
    pub(crate) async fn finish(mut self) -> Result<(i32, String), GitError> {
        drop(self.group.take_input());
        let ended = timeout_at(self.ends_at, self.group.wait()).await.map_err(|_| self.timed_out())?;
        let status = ended.map_err(GitError::io(format!("wait for git to {}", self.what)))?;
        let stderr = timeout(GRACE, &mut self.complaints).await.ok().and_then(Result::ok).unwrap_or_default();
        exit_code(self.what, status, stderr)
    }

    fn timed_out(&self) -> GitError {
        GitError::TimedOut { what: self.what, limit: self.limit }
    }
}

/// Reads the exit code; a death by signal is a failure of the call.
pub(crate) fn exit_code(
    what: &'static str,
    status: ExitStatus,
    stderr: String,
) -> Result<(i32, String), GitError> {
    match status.code() {
        Some(code) => Ok((code, stderr)),
        None => Err(GitError::Failed { what, status: status.to_string(), stderr }),
    }
}

/// A process group that ends with its owner.
pub(crate) struct Group {
    pub(crate) child: Child,
    pid: Option<Pid>,
    on_drop: Signal,
}

impl Group {
    /// Starts a call. Dropping the group sends `on_drop` to all of it.
    pub(crate) fn start(call: &Call, on_drop: Signal) -> Result<Group, GitError> {
        let spawned = call.command().spawn();
        let child =
            spawned.map_err(|source| GitError::Start { search_path: call.git.search_path(), source })?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(Group { child, pid, on_drop })
    }

    pub(crate) fn take_output(&mut self) -> Result<(ChildStdout, ChildStderr), GitError> {
        match (self.child.stdout.take(), self.child.stderr.take()) {
            (Some(stdout), Some(stderr)) => Ok((stdout, stderr)),
            _ => Err(GitError::io("take the pipes of git")(io::ErrorKind::BrokenPipe.into())),
        }
    }

    pub(crate) fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // The number is free for another process from here on.
        self.pid = None;
        Ok(status)
    }

    /// Ends the group, if it has not ended: asks, and insists after a grace.
    pub(crate) async fn end(&mut self) {
        if self.pid.is_none() {
            return;
        }
        self.signal(Signal::TERM);
        if timeout(GRACE, self.wait()).await.is_err() {
            self.signal(Signal::KILL);
            let _ = timeout(GRACE, self.wait()).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            // It may have died meanwhile, which is what was wanted.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(self.on_drop);
    }
}

/// Reads everything git complains about, so that it never blocks, and keeps the end.
pub(crate) async fn read_complaints(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..count]);
        let excess = kept.len().saturating_sub(STDERR_BYTES_MAX);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).trim_end().to_owned()
}

/// What git answers, being read.
pub(crate) type Answer<'a> = &'a mut (dyn AsyncBufRead + Unpin + Send);

/// Describes a failure to read an answer.
pub(crate) fn reading(what: &'static str) -> impl FnOnce(io::Error) -> GitError {
    GitError::io(format!("read from git to {what}"))
}

/// One field of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its bytes without the delimiter, up to the limit.
    pub(crate) bytes: Vec<u8>,
    /// Whether the delimiter was there: the last line of a file may lack it.
    pub(crate) is_ended: bool,
    /// Whether bytes beyond the limit were dropped.
    pub(crate) is_cut: bool,
}

/// Reads up to the next delimiter, keeping at most `bytes_max` bytes; `None` at the end of the answer.
pub(crate) async fn read_field(
    reader: Answer<'_>,
    delimiter: u8,
    bytes_max: usize,
) -> io::Result<Option<Field>> {
    let mut field = Field::default();
    let mut bytes_seen = 0_usize;
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok((bytes_seen > 0).then_some(field));
        }
        let position = available.iter().position(|byte| *byte == delimiter);
        let content = &available[..position.unwrap_or(available.len())];
        let room = bytes_max - field.bytes.len();
        field.bytes.extend_from_slice(&content[..content.len().min(room)]);
        field.is_cut |= content.len() > room;
        let consumed = content.len() + usize::from(position.is_some());
        bytes_seen += consumed;
        reader.consume(consumed);
        if position.is_some() {
            field.is_ended = true;
            return Ok(Some(field));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::command::Git;

    #[tokio::test]
    async fn a_field_beyond_its_limit_is_read_to_its_end_and_says_that_it_was_cut() {
        let mut reader = BufReader::with_capacity(3, &b"abcdefgh\nxy"[..]);
        let first = read_field(&mut reader, b'\n', 4).await.unwrap().unwrap();
        assert_eq!(first, Field { bytes: b"abcd".to_vec(), is_ended: true, is_cut: true });
        let second = read_field(&mut reader, b'\n', 4).await.unwrap().unwrap();
        assert_eq!(second, Field { bytes: b"xy".to_vec(), is_ended: false, is_cut: false });
        assert_eq!(read_field(&mut reader, b'\n', 4).await.unwrap(), None);
    }

    fn waiting(marker: &Path) -> Call {
        // An alias is a shell command of git's: a child of the child, as pack-objects is.
        let alias =
            format!("alias.wait=!echo $$ > {0}.new && mv {0}.new {0} && exec sleep 600", marker.display());
        Call::new(&Git::default(), Path::new("/nonexistent"), "wait").setting(alias).argument("wait")
    }

    async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let looking = async {
            loop {
                match look() {
                    Some(found) => return found,
                    None => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        timeout(Duration::from_secs(20), looking).await.expect("it happens in time")
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_any_more_is_ended_with_its_children() {
        let scratch = tempfile::tempdir().unwrap();
        let marker = scratch.path().join("pid");
        let call = tokio::spawn(waiting(&marker).run());
        let pid: i32 = until(|| std::fs::read_to_string(&marker).ok()).await.trim().parse().unwrap();
        assert!(is_alive(pid));
        call.abort();
        until(|| (!is_alive(pid)).then_some(())).await;
    }

    #[tokio::test]
    async fn a_call_has_a_deadline() {
        let scratch = tempfile::tempdir().unwrap();
        let call = waiting(&scratch.path().join("pid")).deadline(Duration::from_millis(20));
        let error = call.run().await.map(|finished| finished.code).unwrap_err();
        assert!(matches!(error, GitError::TimedOut { what: "wait", .. }), "{error}");
    }

    /// Whether a process runs; one that only waits to be reaped by its parent does not.
    fn is_alive(pid: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[tokio::test]
    async fn an_answer_beyond_its_limit_is_an_error_and_not_a_cut_answer() {
        let call = Call::new(&Git::default(), Path::new("/nonexistent"), "chatter")
            .setting("alias.chatter=!yes".to_owned())
            .argument("chatter")
            .output_bytes_max(1000);
        let error = call.run().await.map(|finished| finished.code).unwrap_err();
        assert!(matches!(error, GitError::TooLarge { bytes_max: 1000, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_missing_git_is_named_with_the_place_it_was_looked_for() {
        let git = Git::new("/nonexistent/bin");
        let error =
            Call::new(&git, Path::new("/"), "start").run().await.map(|finished| finished.code).unwrap_err();
        assert!(matches!(error, GitError::Start { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/bin"));
    }
}
