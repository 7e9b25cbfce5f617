//! Builds with Nix, on the host.
//!
//! Two steps, so that whose fault a failure is shows in an exit code and is never read from a text: the project's words
//! are evaluated to a derivation, and `nix-store --realise` builds it, which ends with 100 when the builder failed, with 101
//! when it took too long (nix-store(1), "Special exit codes for build failure"), and with something else otherwise.
//!
//! Invariants: what is evaluated is a branch's, and reads nothing of this host but the tree and the operator's `NIX_PATH`; what
//! is built is built in Nix' sandbox, whatever the host's settings say.

mod flake;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use pikaci::NixSource;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::store::StorePath;
use super::{LINUX_RUST, LINUX_RUST_PARTS};

/// What every call is told (nix.conf(5)). Restricted, an expression reads what `-I` names; from elsewhere it may have what
/// other hosts serve.
const CONFINED: [(&str, &str); 4] = [
    ("sandbox", "true"),
    ("sandbox-fallback", "false"),
    ("restrict-eval", "true"),
    (
        "allowed-uris",
        "https:// http:// ssh:// git+https:// git+ssh:// https: http: ssh: git+https: git+ssh: github: gitlab: sourcehut:",
    ),
];
const BUILDER_FAILED: i32 = 100;
const BUILD_TIMED_OUT: i32 = 101;
/// Between TERM and KILL. Nix ends its builders on TERM; KILL would leave them behind.
const GRACE: Duration = Duration::from_secs(4);
/// How long the end of a log is waited for when its program has ended.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
const CHUNK_BYTES: usize = 16 << 10;
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How many names are looked at for a witness.
const LOOKS_MAX: usize = 10_000;

/// What Nix is told of the host. Nothing else of the environment reaches it.
#[derive(Clone, Debug, Default)]
pub struct NixConfig {
    /// Where its programs are.
    pub path: OsString,
    /// Its own variables, such as `NIX_CONFIG` and `NIX_REMOTE`, and `HOME`.
    pub environment: Vec<(OsString, OsString)>,
}

/// A realised output.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) path: PathBuf,
    pub(super) closure: Vec<StorePath>,
    pub(super) closure_bytes: u64,
    pub(super) witness: Option<(String, u64)>,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum NixError {
    /// The project's own code is to blame.
    Job {
        exit_code: Option<i32>,
        message: String,
    },
    /// Anything else is.
    Infra {
        message: String,
    },
    TimedOut,
    Cancelled,
}

/// Builds. `root` becomes the link that keeps the output from Nix' collector; `log` gets what is printed.
pub(super) async fn build(
    call: &Call<'_>,
    source: &NixSource,
    name: &str,
    root: &Path,
) -> Result<Built, NixError> {
    let derivation = evaluate(call, source).await?;
    let link = root.as_os_str().to_owned();
    // Nix keeps to the deadline also when nobody is left to end it.
    let left = call.ends_at.saturating_duration_since(Instant::now()).as_secs() + 1;
    let timeout = ["--timeout".into(), left.to_string().into()];
    let arguments = ["--realise".into(), derivation, "--add-root".into(), link, "--indirect".into()];
    let arguments = [arguments.as_slice(), &timeout].concat();
    let realised = call.run("nix-store", &arguments).await?;
    match realised.status.code() {
        Some(0) => {}
        Some(BUILDER_FAILED) => {
            let message = "nix: the builder failed; its log says why".to_owned();
            return Err(NixError::Job { exit_code: Some(BUILDER_FAILED), message });
        }
        Some(BUILD_TIMED_OUT) => return Err(NixError::TimedOut),
        _ => return Err(NixError::Infra { message: format!("nix-store ended with {}", realised.status) }),
    }
    let path = fs::read_link(root)
        .map_err(|error| NixError::Infra { message: format!("cannot read {}: {error}", root.display()) })?;
    let sizes = ["path-info".into(), "-r".into(), "-s".into(), path.clone().into_os_string()];
    let closure = closure(&call.asked("nix", &features(&sizes)).await?);
    let closure_bytes = closure.iter().map(|store| store.bytes).sum();
    if !path.is_dir() {
        let message = format!("{} is no folder; an output must be one", path.display());
        return Err(NixError::Job { exit_code: None, message });
    }
    if name == LINUX_RUST {
        check_parts(&path, &closure)?;
    }
    Ok(Built { witness: find_witness(&path), path, closure, closure_bytes })
}

/// The paths that `nix path-info -r -s` prints, one a line, each with its bytes.
fn closure(text: &str) -> Vec<StorePath> {
    let paths = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let path = PathBuf::from(words.next()?);
        Some(StorePath { path, bytes: words.next().and_then(|word| word.parse().ok()).unwrap_or(0) })
    });
    paths.collect()
}

/// The derivation that the project's words mean.
async fn evaluate(call: &Call<'_>, source: &NixSource) -> Result<OsString, NixError> {
    let blamed = |what: &str, status: ExitStatus| NixError::Job {
        exit_code: status.code(),
        message: format!("nix: {what}; its log says why"),
    };
    let evaluated = match source {
        NixSource::Expression(text) => {
            let tree = call.snapshot.as_os_str().to_owned();
            let arguments = ["-I".into(), tree, "--expr".into(), text.into()];
            call.run("nix-instantiate", &arguments).await?
        }
        NixSource::Installable(text) => {
            let flake = call.snapshot.join("flake.nix");
            let tree = call.snapshot.as_os_str().to_owned();
            let is_of_tree = text == "." || text.starts_with(".#");
            let installable = match text.strip_prefix('.').filter(|_| is_of_tree) {
                // Never `.`: Nix would look for a repository above, and build what git has there.
                Some(rest) => format!("path:{}{rest}", call.snapshot.display()),
                None => text.clone(),
            };
            if is_of_tree {
                let parsed = call
                    .run("nix-instantiate", &["-I".into(), tree, "--parse".into(), flake.into_os_string()])
                    .await?;
                if !parsed.status.success() {
                    return Err(blamed("flake.nix can't be read", parsed.status));
                }
            }
            let flake = installable.split('#').next().unwrap_or_default();
            if !is_of_tree && !flake::is_elsewhere(flake) {
                let message = format!(
                    "nix: {text} is of this host; an installable is `.#NAME`, or of another host: `github:OWNER/NAME#NAME`"
                );
                return Err(NixError::Job { exit_code: None, message });
            }
            // What has to come from elsewhere comes now; what fails after this is the project's own. What is said of the inputs
            // tells their digests, which would open them to the next branch.
            let metadata = [
                "flake".into(),
                "metadata".into(),
                "--json".into(),
                flake.into(),
                "--no-write-lock-file".into(),
            ];
            let metadata = call.run_quietly("nix", &features(&metadata)).await?;
            let input = flake::input_of_this_host(&metadata.output);
            if metadata.status.success()
                && let Ok(Some(input)) = &input
            {
                let message = format!(
                    "nix: the flake's input {input} is of this host; inputs are of the tree or of other hosts"
                );
                return Err(NixError::Job { exit_code: None, message });
            }
            let archive = ["flake".into(), "archive".into(), flake.into(), "--no-write-lock-file".into()];
            let archived = call.run("nix", &features(&archive)).await?;
            if !metadata.status.success() || input.is_err() || !archived.status.success() {
                let what = if is_of_tree { "the flake's inputs" } else { text };
                let message = format!("nix: {what} can't be had; the job's log says why");
                return Err(NixError::Infra { message });
            }
            let attribute = if installable.contains('#') {
                format!("{installable}.drvPath")
            } else {
                format!("{installable}#default.drvPath")
            };
            let arguments = [
                "eval".into(),
                "--raw".into(),
                "--offline".into(),
                "--no-write-lock-file".into(),
                attribute.into(),
            ];
            call.run("nix", &features(&arguments)).await?
        }
    };
    let path = evaluated.output.trim().split('!').next().unwrap_or_default();
    if !evaluated.status.success() {
        return Err(blamed("it can't be evaluated", evaluated.status));
    }
    if !path.ends_with(".drv") || path.contains(char::is_whitespace) {
        let message = "nix: it must be one derivation".to_owned();
        return Err(NixError::Job { exit_code: None, message });
    }
    Ok(path.into())
}

fn features(arguments: &[OsString]) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec!["--extra-experimental-features".into(), "nix-command flakes".into()];
    all.extend_from_slice(arguments);
    all
}

/// What every call has in common.
pub(super) struct Call<'a> {
    pub(super) config: &'a NixConfig,
    pub(super) snapshot: &'a Path,
    pub(super) log: &'a Path,
    pub(super) log_bytes_max: u64,
    pub(super) ends_at: Instant,
    pub(super) cancel: &'a CancellationToken,
}

struct Answer {
    status: ExitStatus,
    output: String,
}

impl Call<'_> {
    /// Asks for something that can fail by the machinery's fault only.
    async fn asked(&self, program: &str, arguments: &[OsString]) -> Result<String, NixError> {
        let answer = self.run(program, arguments).await?;
        if answer.status.success() {
            return Ok(answer.output);
        }
        Err(NixError::Infra { message: format!("{program} ended with {}; see the job's log", answer.status) })
    }

    /// Runs a program to its end, or ends it at the deadline or when the run is cancelled.
    async fn run(&self, program: &str, arguments: &[OsString]) -> Result<Answer, NixError> {
        self.run_logging(program, arguments, self.log_bytes_max).await
    }

    /// The same, but keeps nothing of what it prints for people.
    async fn run_quietly(&self, program: &str, arguments: &[OsString]) -> Result<Answer, NixError> {
        self.run_logging(program, arguments, 0).await
    }

    async fn run_logging(
        &self,
        program: &str,
        arguments: &[OsString],
        log_bytes_max: u64,
    ) -> Result<Answer, NixError> {
        let infra =
            |what: &str, error: io::Error| NixError::Infra { message: format!("cannot {what}: {error}") };
        let log = self.log().map_err(|error| infra("write the job's log", error))?;
        let mut command = Command::new(program);
        command.args(CONFINED.iter().flat_map(|(name, value)| ["--option", name, value])).args(arguments);
        command.current_dir(self.snapshot).env_clear().env("PATH", &self.config.path);
        command.envs(self.config.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!(
                    "the provider `nix` needs Nix, and there is no {program} on the path (on Debian: apt-get install nix-bin)"
                );
                return Err(NixError::Infra { message });
            }
            Err(error) => return Err(infra(&format!("start {program}"), error)),
        };
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let logging = child.stderr.take().map(|stderr| tokio::spawn(keep_log(stderr, log, log_bytes_max)));
        let mut output = String::new();
        let stdout = child.stdout.take();
        let work = async || {
            if let Some(stdout) = stdout {
                let mut bytes = Vec::new();
                stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await?;
                output = String::from_utf8_lossy(&bytes).into_owned();
            }
            child.wait().await
        };
        let ended = tokio::select! {
            status = work() => Ok(status),
            () = tokio::time::sleep_until(self.ends_at) => Err(NixError::TimedOut),
            () = self.cancel.cancelled() => Err(NixError::Cancelled),
        };
        let answer = match ended {
            Ok(Ok(status)) => Ok(Answer { status, output }),
            Ok(Err(error)) => Err(infra(&format!("wait for {program}"), error)),
            Err(ended) => {
                for signal in [Signal::TERM, Signal::KILL] {
                    let _ = group.map(|group| kill_process_group(group, signal));
                    if timeout(GRACE, child.wait()).await.is_ok() {
                        break;
                    }
                }
                Err(ended)
            }
        };
        if let Some(mut logging) = logging {
            // Whoever else holds the other end is not waited for.
            if timeout(LOG_PATIENCE, &mut logging).await.is_err() {
                logging.abort();
            }
        }
        answer
    }

    fn log(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).open(self.log)
    }
}

/// Appends what is printed to the log, up to a size; reads on without keeping it.
async fn keep_log(mut from: impl AsyncRead + Unpin, log: File, bytes_max: u64) {
    let mut left = bytes_max.saturating_sub(log.metadata().map_or(0, |metadata| metadata.len()));
    let mut log = tokio::fs::File::from_std(log);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut is_full = false;
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let kept = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= kept as u64;
        if log.write_all(&chunk[..kept]).await.is_err() {
            // A disk that is full ends the log, not the build.
            left = 0;
        }
        if kept < count && !is_full && bytes_max > 0 {
            is_full = true;
            let _ =
                log.write_all(format!("\n[pikaci: the log is full: {bytes_max} bytes]\n").as_bytes()).await;
        }
        // Readers follow it.
        let _ = log.flush().await;
    }
}

/// The two parts may be store paths of their own, but must be of the closure: nothing else is shared.
fn check_parts(path: &Path, closure: &[StorePath]) -> Result<(), NixError> {
    for part in LINUX_RUST_PARTS {
        let found = fs::canonicalize(path.join(part)).ok().filter(|found| found.is_dir());
        let is_of_closure =
            found.is_some_and(|found| closure.iter().any(|store| found.starts_with(&store.path)));
        if !is_of_closure {
            let message = format!("the output {LINUX_RUST} has no folder {part} in its closure");
            return Err(NixError::Job { exit_code: None, message });
        }
    }
    Ok(())
}

/// A regular file below a folder, and its size: the first in the order of names.
fn find_witness(folder: &Path) -> Option<(String, u64)> {
    let mut open = vec![folder.to_owned()];
    let mut looks = 0;
    while let Some(next) = open.pop() {
        let mut entries: Vec<_> = fs::read_dir(&next).ok()?.filter_map(Result::ok).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            looks += 1;
            let path = entry.path();
            let metadata = fs::symlink_metadata(&path).ok()?;
            if metadata.is_file()
                && let Some(name) = path.strip_prefix(folder).ok().and_then(Path::to_str)
            {
                return Some((name.to_owned(), metadata.len()));
            }
            if metadata.is_dir() && looks < LOOKS_MAX {
                open.push(path);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
