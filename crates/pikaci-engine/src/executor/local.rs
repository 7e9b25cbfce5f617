//! Runs jobs on the host itself: in a bubblewrap sandbox where that is to be had, else as plain processes.
//!
//! The guest runner is started as a child with its standard input as lifeline: whatever happens to this process, the
//! runner sees the end of its input and ends its job. It is the same program that instances have baked in.

mod leftovers;
mod sandbox;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pikaci::guest::{
    COMMAND_VARIABLE, GuestResult, GuestStatus, RESULT_NAME, RUN_AS_ROOT_VARIABLE, TIMEOUT_VARIABLE,
};
use pikaci::record::phase;
use pikaci::store::open_in_run_beneath;
use pikaci::{ExecutorKind, GuestExit, JobSpec};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Attempt, Boxed, Execution, Executor, Phases, Report};
use sandbox::Sandbox;

/// Between TERM and KILL inside the guest. With [`KILL_AFTER`] it stays below the five seconds that a cancel may take.
const GRACE: Duration = Duration::from_secs(3);
/// After the guest's own grace, before everything is killed from outside.
const KILL_AFTER: Duration = Duration::from_millis(1000);
/// How much later than the guest's deadline the host's is.
const HOST_MARGIN: Duration = Duration::from_secs(30);
/// How long the runner may take to read the job's secrets.
const SECRETS_DEADLINE: Duration = Duration::from_secs(10);
const RESULT_BYTES_MAX: u64 = 256 * 1024;

/// What the local executor is told of the host. It reads no environment itself.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// The program that is the guest runner.
    pub runner: PathBuf,
    /// What it is given first, such as `guest-run`.
    pub runner_arguments: Vec<OsString>,
    /// bubblewrap's program; `None` when it is not installed.
    pub bubblewrap: Option<PathBuf>,
    /// The `PATH` of jobs.
    pub path: OsString,
    /// The folders that `path` names.
    pub path_folders: Vec<PathBuf>,
    /// The user's home: hidden from jobs, but for the tool folders below it that are on the path.
    pub home: Option<PathBuf>,
}

/// Runs jobs on the host itself.
#[derive(Debug)]
pub struct LocalExecutor {
    config: LocalConfig,
    isolation: Arc<OnceCell<bool>>,
    has_said_so: AtomicBool,
}

impl LocalExecutor {
    /// An executor for this host. Nothing is started yet.
    pub fn new(config: LocalConfig) -> LocalExecutor {
        LocalExecutor { config, isolation: Arc::new(OnceCell::new()), has_said_so: AtomicBool::new(false) }
    }
}

impl Executor for LocalExecutor {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::HostLocal
    }

    fn check<'a>(&'a self, jobs: &'a [JobSpec]) -> Boxed<'a, Vec<String>> {
        let (isolation, bubblewrap) = (Arc::clone(&self.isolation), self.config.bubblewrap.clone());
        Box::pin(async move {
            let needs_sandbox = |job: &&JobSpec| !job.prepared.is_empty() || !job.secrets.is_empty();
            let sandboxed: Vec<&JobSpec> = jobs.iter().filter(needs_sandbox).collect();
            if !sandboxed.is_empty() {
                let is_isolated = *isolation.get_or_init(|| can_isolate(bubblewrap.clone())).await;
                // Without a sandbox there is no place of their own where jobs could see them.
                let reason = |job: &&JobSpec| {
                    format!(
                        "job {}: prepared outputs and secrets need a sandbox, and bubblewrap can't make one here",
                        job.id
                    )
                };
                return sandboxed.iter().filter(|_| !is_isolated).map(reason).collect();
            }
            // Asked while the tree is frozen, so that no job waits for the answer.
            tokio::spawn(async move {
                isolation.get_or_init(|| can_isolate(bubblewrap)).await;
            });
            Vec::new()
        })
    }

    fn execute<'a>(&'a self, attempt: &'a Attempt, cancel: &'a CancellationToken) -> Boxed<'a, Execution> {
        Box::pin(async move {
            let mut phases = Phases::new(attempt, "local");
            let exit = self.attempt(attempt, &mut phases, cancel).await;
            // Before what was not declared is removed.
            leave_output(attempt);
            let collected = collect(attempt, &mut phases).await;
            let scratch = attempt.scratch_dir.clone();
            let remove = move || crate::snapshot::remove_tree(&scratch).map_err(|error| (scratch, error));
            let cleanup = Box::pin(async move {
                let removed = match tokio::task::spawn_blocking(remove).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err((folder, error))) => Err(format!("cannot remove {}: {error}", folder.display())),
                    Err(error) => Err(format!("cannot remove the job's scratch folder: {error}")),
                };
                match (collected, removed) {
                    (Err(collected), Err(removed)) => Err(format!("{collected}; {removed}")),
                    (collected, removed) => collected.and(removed),
                }
            });
            Execution { exit: exit.unwrap_or_else(|lost| lost), record: phases.finish(), cleanup }
        })
    }
}

/// A folder of the job on the host.
pub(crate) struct Folders {
    artifacts: PathBuf,
    cargo_home: PathBuf,
    cargo_target: PathBuf,
    temporary: PathBuf,
    accounts: PathBuf,
}

impl Folders {
    fn of(attempt: &Attempt) -> Folders {
        let below = |name: &str| attempt.scratch_dir.join(name);
        Folders {
            artifacts: attempt.artifacts_dir.clone(),
            cargo_home: below("cargo-home"),
            cargo_target: below("cargo-target"),
            temporary: below("tmp"),
            accounts: below("accounts"),
        }
    }

    fn make(&self) -> io::Result<()> {
        for folder in [&self.artifacts, &self.cargo_home, &self.cargo_target, &self.temporary, &self.accounts]
        {
            fs::create_dir_all(folder)?;
        }
        Ok(())
    }
}

/// The runner with its lifeline, and everything below it.
struct Guest {
    child: Child,
    group: Option<Pid>,
}

impl Guest {
    /// Ends everything at once.
    async fn kill(&mut self) {
        self.end_group();
        let _ = timeout(Duration::from_secs(2), self.child.wait()).await;
    }

    /// Kills the runner, or the sandbox with everything in it.
    fn end_group(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl LocalExecutor {
    async fn attempt(
        &self,
        attempt: &Attempt,
        phases: &mut Phases<'_>,
        cancel: &CancellationToken,
    ) -> Result<GuestExit, GuestExit> {
        let lost =
            |what: &str, error: io::Error| GuestExit::NoResult { detail: format!("cannot {what}: {error}") };
        let folders = Folders::of(attempt);
        phases
            .run(phase::PREPARE_DIRECTORIES, async { folders.make() })
            .await
            .map_err(|error| lost("make the job's folders", error))?;
        phases
            .run(phase::STAGE_WORKSPACE_SNAPSHOT, async { fs::metadata(&attempt.snapshot_dir).map(|_| ()) })
            .await
            .map_err(|error| lost("find the snapshot", error))?;
        // Decided before anything of the tested code runs, and never again: a job must not be able to talk its way out.
        let is_isolated = *self.isolation.get_or_init(|| can_isolate(self.config.bubblewrap.clone())).await;
        if !is_isolated {
            self.say_not_isolated(attempt).await;
        }
        self.run_guest(attempt, &folders, is_isolated, phases, cancel).await
    }

    async fn run_guest(
        &self,
        attempt: &Attempt,
        folders: &Folders,
        is_isolated: bool,
        phases: &mut Phases<'_>,
        cancel: &CancellationToken,
    ) -> Result<GuestExit, GuestExit> {
        let lost =
            |what: &str, error: io::Error| GuestExit::NoResult { detail: format!("cannot {what}: {error}") };
        let command = phases
            .run(phase::PREPARE_RUNTIME, async { self.command(attempt, folders, is_isolated) })
            .await
            .map_err(|error| lost("prepare the sandbox", error))?;
        let mut guest = phases
            .run(phase::LAUNCH_GUEST, async { launch(command) })
            .await
            .map_err(|error| lost("start the guest runner", error))?;
        if let Err(error) = tell_secrets(&mut guest, attempt).await {
            // The runner waits for them: without them it starts nothing.
            guest.kill().await;
            return Err(lost("hand the job its secrets", error));
        }
        attempt.host_log.line(format!(
            "started the guest runner as process {}, {}",
            guest.child.id().unwrap_or(0),
            if is_isolated { "in a sandbox" } else { "not isolated" }
        ));
        let ended = phases
            .run(phase::WAIT_FOR_COMPLETION, async {
                Ok::<_, std::convert::Infallible>(wait(&mut guest, attempt, cancel).await)
            })
            .await;
        let Ok(ended) = ended;
        let result = read_result(&folders.artifacts);
        if !matches!(result, Ok(Some(_))) {
            guest.end_group();
            let left = if is_isolated { 0 } else { leftovers::end(&folders.artifacts).await };
            if left > 0 {
                attempt.host_log.line(format!("killed {left} processes that the job left behind"));
            }
        }
        attempt.host_log.line(format!("{ended}; its result: {}", shown(&result)));
        // Only a run that was cancelled may say so of its job: whoever else stopped the runner was not asked to.
        let result = result.map(|result| result.filter(|result| result.status != GuestStatus::Cancelled));
        Ok(match (result, ended) {
            (Ok(Some(result)), _) => GuestExit::Result(result),
            (_, Ended::Cancelled) => GuestExit::Cancelled,
            (_, Ended::Late { limit }) => GuestExit::HostDeadline { limit },
            (Err(detail), _) => GuestExit::NoResult { detail },
            (Ok(None), Ended::Alone { status }) => GuestExit::NoResult {
                detail: format!("the guest runner ended before its job ({status}); see host.log"),
            },
        })
    }

    fn command(&self, attempt: &Attempt, folders: &Folders, is_isolated: bool) -> io::Result<Command> {
        let mut command = match (&self.config.bubblewrap, is_isolated) {
            (Some(bubblewrap), true) => {
                let sandbox = Sandbox { config: &self.config, attempt, folders };
                sandbox.write_accounts()?;
                let mut command = Command::new(bubblewrap);
                command.args(sandbox.arguments());
                command
            }
            _ => {
                let mut command = Command::new(&self.config.runner);
                command.args(&self.config.runner_arguments).arg("run");
                command.arg("--snapshot").arg(&attempt.snapshot_dir);
                command.arg("--artifacts").arg(&folders.artifacts);
                command.arg("--cargo-home").arg(&folders.cargo_home);
                command.arg("--cargo-target").arg(&folders.cargo_target);
                command.arg("--sentinel").arg(sentinel(&attempt.snapshot_dir, attempt));
                command
            }
        };
        command
            .args(["--lifeline", "--quiet", "--same-user", "--grace-ms"])
            .arg(GRACE.as_millis().to_string());
        if attempt.secrets.is_some() {
            command.arg("--secrets");
        }
        command.env_clear().env("PATH", &self.config.path);
        command.env(COMMAND_VARIABLE, attempt.job.guest_command());
        command.env(TIMEOUT_VARIABLE, attempt.job.timeout_secs.to_string());
        command.env(RUN_AS_ROOT_VARIABLE, if attempt.job.run_as_root { "1" } else { "0" });
        let temporary = if is_isolated { Path::new("/tmp") } else { &folders.temporary };
        command.env("TMPDIR", temporary);
        if is_isolated {
            command.env("HOME", sandbox::HOME);
        } else {
            command.env("HOME", &folders.temporary);
        }
        if let Some(rustup) = sandbox::rustup_home(&self.config) {
            command.env("RUSTUP_HOME", rustup);
        }
        command.stdin(Stdio::piped()).stdout(attempt.host_log.stdio()?).stderr(attempt.host_log.stdio()?);
        // A group of its own: a Ctrl-C at the terminal is ours to handle, and a kill reaches all of it.
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }

    /// Says once a run that jobs are not isolated.
    async fn say_not_isolated(&self, attempt: &Attempt) {
        let why = match &self.config.bubblewrap {
            None => "bubblewrap is not installed (on Debian: apt-get install bubblewrap)",
            Some(_) => "bubblewrap cannot make a sandbox here (are user namespaces allowed?)",
        };
        let message = format!("jobs are not isolated from this host: {why}");
        attempt.host_log.line(&message);
        if !self.has_said_so.swap(true, Ordering::Relaxed) {
            let _ = attempt.reports.send(Report::Notice { message }).await;
        }
    }
}

/// Moves what a job that prepares an output has left. Without it there is no output, which is the job's fault, or it failed
/// anyway.
fn leave_output(attempt: &Attempt) {
    let left = attempt.artifacts_dir.join("out");
    let Some(out) = attempt.out() else { return };
    if let Err(error) = fs::rename(&left, out)
        && error.kind() != io::ErrorKind::NotFound
    {
        attempt.host_log.line(format!("cannot take the output: {error}"));
    }
}

/// Whether bubblewrap can make a sandbox here at all.
async fn can_isolate(bubblewrap: Option<PathBuf>) -> bool {
    let Some(bubblewrap) = bubblewrap else { return false };
    let mut command = Command::new(bubblewrap);
    command.args([
        "--unshare-all",
        "--unshare-user",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "true",
    ]);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    matches!(timeout(Duration::from_secs(10), command.status()).await, Ok(Ok(status)) if status.success())
}

fn sentinel(share: &Path, attempt: &Attempt) -> OsString {
    let mut text = share.as_os_str().to_owned();
    text.push("=");
    text.push(attempt.snapshot_digest.as_str());
    text
}

fn launch(mut command: Command) -> io::Result<Guest> {
    let child = command.spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok(Guest { child, group })
}

/// Hands the runner the job's secrets, over its standard input, which stays open as its lifeline.
async fn tell_secrets(guest: &mut Guest, attempt: &Attempt) -> io::Result<()> {
    let (Some(secrets), Some(stdin)) = (&attempt.secrets, &mut guest.child.stdin) else { return Ok(()) };
    let told = async {
        stdin.write_all(secrets.bytes()).await?;
        stdin.flush().await
    };
    timeout(SECRETS_DEADLINE, told).await.unwrap_or_else(|late| Err(late.into()))
}

#[derive(Debug)]
enum Ended {
    Alone { status: String },
    Cancelled,
    Late { limit: Duration },
}

impl std::fmt::Display for Ended {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Alone { status } => write!(formatter, "the guest runner ended with {status}"),
            Ended::Cancelled => formatter.write_str("the guest runner was told to stop"),
            Ended::Late { limit } => {
                write!(formatter, "the guest runner was late by its limit of {} s", limit.as_secs())
            }
        }
    }
}

async fn wait(guest: &mut Guest, attempt: &Attempt, cancel: &CancellationToken) -> Ended {
    // Held until the job is to end; dropping it is the order to stop.
    let lifeline = guest.child.stdin.take();
    let limit = attempt.job.timeout() + GRACE + HOST_MARGIN;
    let ended = tokio::select! {
        status = guest.child.wait() => {
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            Ended::Alone { status }
        }
        () = cancel.cancelled() => Ended::Cancelled,
        () = tokio::time::sleep(limit) => Ended::Late { limit },
    };
    drop(lifeline);
    if !matches!(ended, Ended::Alone { .. }) && timeout(GRACE + KILL_AFTER, guest.child.wait()).await.is_err()
    {
        attempt.host_log.line("the guest did not end by itself; killed");
        guest.kill().await;
    }
    ended
}

/// Takes in what the job declared. An error is one of cleaning up: it says nothing about the job.
async fn collect(attempt: &Attempt, phases: &mut Phases<'_>) -> Result<(), String> {
    let folder = &attempt.artifacts_dir;
    if !folder.exists() {
        return Ok(());
    }
    let keep = async { crate::artifacts::keep_declared(folder, &attempt.job, &attempt.host_log) };
    let kept = phases.run(phase::COLLECT_ARTIFACTS, keep).await;
    kept.map_err(|error| format!("cannot collect the artifacts in {}: {error}", folder.display()))
}

/// Reads `result.json` of a folder that the tested code wrote to: no links, and a limit.
fn read_result(artifacts: &Path) -> Result<Option<GuestResult>, String> {
    let opened = open_in_run_beneath(artifacts, Path::new(RESULT_NAME)).map_err(|error| error.to_string())?;
    let Some(file) = opened else { return Ok(None) };
    let mut content = Vec::new();
    file.take(RESULT_BYTES_MAX).read_to_end(&mut content).map_err(|error| error.to_string())?;
    GuestResult::parse(&content).map(Some).map_err(|error| error.to_string())
}

fn shown(result: &Result<Option<GuestResult>, String>) -> String {
    match result {
        Ok(Some(GuestResult { status, exit_code, .. })) => {
            let word = match status {
                GuestStatus::Passed => "passed",
                GuestStatus::Failed => "failed",
                GuestStatus::TimedOut => "timed out",
                GuestStatus::Cancelled => "stopped",
                GuestStatus::Refused => "refused to start the command",
                GuestStatus::Unknown(word) => word,
            };
            exit_code.map_or(word.to_owned(), |code| format!("{word}, exit code {code}"))
        }
        Ok(None) => "none".to_owned(),
        Err(error) => error.clone(),
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
