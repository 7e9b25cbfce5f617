//! What git says of a working tree or a repository. The only place of the engine that calls git.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

const MESSAGE_BYTES_MAX: u64 = 8 * 1024;
/// Where git would look instead of where it is sent (git(1), "The Git Repository").
const MISLEADING: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_LITERAL_PATHSPECS",
];

/// Why git gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum GitFailure {
    /// The program is missing.
    #[error("cannot start git; install it (on Debian: apt-get install git)")]
    Start {
        /// What the system says.
        source: io::Error,
    },
    /// The pipe to git broke.
    #[error("lost the connection to git")]
    Pipe {
        /// What the system says.
        source: io::Error,
    },
    /// Git did not finish in time.
    #[error("git {command} in {} took longer than {} s", folder.display(), limit.as_secs())]
    Late {
        /// What was asked.
        command: String,
        /// Where.
        folder: PathBuf,
        /// The deadline.
        limit: Duration,
    },
    /// The folder is in no repository.
    #[error("{} is in no git repository; make one with `git init` (git says: {message})", folder.display())]
    NoRepository {
        /// The folder.
        folder: PathBuf,
        /// What git printed: it also refuses a repository of another user, or one whose configuration is broken.
        message: String,
    },
    /// A revision does not exist.
    #[error("{} has no commit {revision:?}", folder.display())]
    NoRevision {
        /// The repository.
        folder: PathBuf,
        /// What was asked for.
        revision: String,
    },
    /// Git refused.
    #[error("git {command} in {} ended with {status}: {message}", folder.display())]
    Refused {
        /// What was asked.
        command: String,
        /// Where.
        folder: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        message: String,
    },
    /// Git answered in a form that is not understood.
    #[error("git {command} answered in a form that is not understood")]
    Form {
        /// What was asked.
        command: &'static str,
    },
}

/// Finds the top folder of the working tree that a folder is in.
pub fn find_top(folder: &Path, limit: Duration) -> Result<PathBuf, GitFailure> {
    let output = run(folder, &["rev-parse", "--show-toplevel"], limit)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(trimmed(&output.stderr)).into_owned();
        return Err(GitFailure::NoRepository { folder: folder.to_owned(), message });
    }
    Ok(path_of(trimmed(&output.stdout)))
}

/// Resolves a revision to a commit's id.
pub fn resolve(folder: &Path, revision: &str, limit: Duration) -> Result<String, GitFailure> {
    let wanted = format!("{revision}^{{commit}}");
    let output = run(folder, &["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted], limit)?;
    if !output.status.success() {
        return Err(GitFailure::NoRevision { folder: folder.to_owned(), revision: revision.to_owned() });
    }
    Ok(String::from_utf8_lossy(trimmed(&output.stdout)).into_owned())
}

/// Reads a file at a commit; `None` when there is no such file.
pub fn show_file(
    folder: &Path,
    commit: &str,
    path: &str,
    limit: Duration,
) -> Result<Option<Vec<u8>>, GitFailure> {
    let output = run(folder, &["cat-file", "blob", &format!("{commit}:{path}")], limit)?;
    Ok(output.status.success().then_some(output.stdout))
}

/// Finds where two commits parted; `None` when they have no history in common.
pub(super) fn merge_base(
    folder: &Path,
    one: &str,
    other: &str,
    limit: Duration,
) -> Result<Option<String>, GitFailure> {
    let output = run(folder, &["merge-base", one, other], limit)?;
    let base = String::from_utf8_lossy(trimmed(&output.stdout)).into_owned();
    Ok((output.status.success() && !base.is_empty()).then_some(base))
}

/// Runs git and insists on success.
pub(super) fn ask(folder: &Path, arguments: &[&str], limit: Duration) -> Result<Vec<u8>, GitFailure> {
    let output = run(folder, arguments, limit)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(trimmed(&output.stderr)).into_owned();
        let (command, folder) = (arguments.join(" "), folder.to_owned());
        return Err(GitFailure::Refused { command, folder, status: output.status, message });
    }
    Ok(output.stdout)
}

struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for variable in MISLEADING {
        command.env_remove(variable);
    }
    // A repository under test must not name programs that git then starts on the host.
    command.args([
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "core.quotePath=false",
    ]);
    command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    command.arg("--no-pager").current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str], limit: Duration) -> Result<Output, GitFailure> {
    let mut child = command(folder)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| GitFailure::Start { source })?;
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(GitFailure::Pipe { source: io::ErrorKind::BrokenPipe.into() });
    };
    let (sender, receiver) = mpsc::channel();
    let messages = thread::spawn(move || {
        let mut message = Vec::new();
        let _ = (&mut stderr).take(MESSAGE_BYTES_MAX).read_to_end(&mut message);
        let _ = io::copy(&mut stderr, &mut io::sink());
        message
    });
    thread::spawn(move || {
        let mut content = Vec::new();
        let read = stdout.read_to_end(&mut content).map(|_| content);
        let _ = sender.send(read);
    });
    let Ok(read) = receiver.recv_timeout(limit) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(GitFailure::Late { command: arguments.join(" "), folder: folder.to_owned(), limit });
    };
    let stdout = read.map_err(|source| GitFailure::Pipe { source })?;
    let status = child.wait().map_err(|source| GitFailure::Pipe { source })?;
    Ok(Output { status, stdout, stderr: messages.join().unwrap_or_default() })
}

/// Streams the content of blobs, in the order in which they were asked for.
pub(super) struct Blobs {
    folder: PathBuf,
    limit: Duration,
    shared: Arc<BlobsChild>,
    output: io::BufReader<std::process::ChildStdout>,
    /// Dropped with this; until then the deadline counts.
    _is_reading: mpsc::Sender<()>,
}

/// What the reader of the blobs shares with the thread that holds it to the deadline.
struct BlobsChild {
    child: Mutex<Child>,
    is_late: AtomicBool,
}

impl BlobsChild {
    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs {
    /// Starts one git that answers for all of them within `limit`.
    pub(super) fn open(folder: &Path, oids: Vec<String>, limit: Duration) -> Result<Blobs, GitFailure> {
        let mut child = command(folder)
            .args(["cat-file", "--batch", "--buffer"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| GitFailure::Start { source })?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(GitFailure::Pipe { source: io::ErrorKind::BrokenPipe.into() });
        };
        thread::spawn(move || {
            for oid in oids {
                // Broken when the reader gave up; it knows why.
                if writeln!(input, "{oid}").is_err() {
                    return;
                }
            }
        });
        let shared = Arc::new(BlobsChild { child: Mutex::new(child), is_late: AtomicBool::new(false) });
        let (is_reading, until_read) = mpsc::channel();
        let watched = Arc::clone(&shared);
        thread::spawn(move || {
            if until_read.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                // The reader finds the stream at its end, and then this.
                watched.is_late.store(true, Ordering::SeqCst);
                let _ = watched.lock().kill();
            }
        });
        let output = io::BufReader::with_capacity(256 * 1024, output);
        Ok(Blobs { folder: folder.to_owned(), limit, shared, output, _is_reading: is_reading })
    }

    /// Hands the next blob to `read` as a stream that ends with it. What `read` leaves is skipped.
    pub(super) fn next<T>(
        &mut self,
        read: impl FnOnce(&mut dyn io::Read, u64) -> T,
    ) -> Result<T, GitFailure> {
        let answer = self.read_next(read);
        if answer.is_err() && self.is_late() {
            let command = "cat-file --batch".to_owned();
            return Err(GitFailure::Late { command, folder: self.folder.clone(), limit: self.limit });
        }
        answer
    }

    fn is_late(&self) -> bool {
        self.shared.is_late.load(Ordering::SeqCst)
    }

    fn read_next<T>(&mut self, read: impl FnOnce(&mut dyn io::Read, u64) -> T) -> Result<T, GitFailure> {
        use io::BufRead as _;
        let form = || GitFailure::Form { command: "cat-file --batch" };
        let mut header = String::new();
        self.output.read_line(&mut header).map_err(|source| GitFailure::Pipe { source })?;
        let mut words = header.trim_end().split(' ').skip(1);
        let is_blob = words.next() == Some("blob");
        let bytes: u64 =
            words.next().and_then(|size| size.parse().ok()).filter(|_| is_blob).ok_or_else(form)?;
        let mut content = (&mut self.output).take(bytes);
        let done = read(&mut content, bytes);
        io::copy(&mut content, &mut io::sink()).map_err(|source| GitFailure::Pipe { source })?;
        let mut end = [0];
        self.output.read_exact(&mut end).map_err(|source| GitFailure::Pipe { source })?;
        if end == *b"\n" { Ok(done) } else { Err(form()) }
    }
}

impl Drop for Blobs {
    fn drop(&mut self) {
        let mut child = self.shared.lock();
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_end()
}

/// A path as git prints it with `-z`: bytes, not text.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn git_that_is_late_with_blobs_is_stopped_and_named() {
        let repository = tempfile::tempdir().unwrap();
        ask(repository.path(), &["init", "--quiet"], Duration::from_secs(30)).unwrap();
        // More than the pipe and both buffers hold, so that git can't be done before it is stopped.
        std::fs::write(repository.path().join("big"), vec![b'x'; 8 << 20]).unwrap();
        let oid = ask(repository.path(), &["hash-object", "-w", "big"], Duration::from_secs(30)).unwrap();
        let oids = vec![String::from_utf8(oid).unwrap().trim().to_owned()];
        let mut blobs = Blobs::open(repository.path(), oids, Duration::ZERO).unwrap();
        let start = Instant::now();
        while !blobs.is_late() {
            assert!(start.elapsed() < Duration::from_secs(30), "the deadline was not held");
            thread::yield_now();
        }
        let mut content = Vec::new();
        let answer = blobs.next(|blob, _| blob.read_to_end(&mut content).map(|_| ()));
        assert!(matches!(answer, Err(GitFailure::Late { .. })), "{answer:?}");
    }
}
