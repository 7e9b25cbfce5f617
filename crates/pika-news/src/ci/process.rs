//! The process of a lane: a child of this forge, or one that an earlier forge has left running.
//!
//! Invariants: it has a process group of its own, named by its id; it holds no pipe of the forge, so that it outlives
//! it; a process is signalled only while it is known to be the run's.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use pikaci::{RunId, StateRoot};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::PikaciProgram;

/// How often an adopted process is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take to read what it is told.
const INPUT_DEADLINE: Duration = Duration::from_secs(10);
/// How much of the end of standard error is kept for a message.
const STDERR_BYTES_MAX: u64 = 4096;
/// How long the file of a standard error may get before it is emptied.
const STDERR_FILE_BYTES_MAX: u64 = 1 << 20;

/// What to start.
pub(super) struct Invocation<'a> {
    pub(super) pikaci: &'a PikaciProgram,
    pub(super) arguments: Vec<String>,
    pub(super) folder: &'a Path,
    pub(super) state: &'a StateRoot,
    /// Where its standard error goes.
    pub(super) stderr: &'a Path,
    /// What it reads from its standard input, which is closed after it.
    pub(super) input: Option<Vec<u8>>,
}

/// A lane's process.
pub(super) enum Process {
    /// Spawned by this forge.
    Own { child: Child, group: Pid },
    /// Found running.
    Adopted { run: RunId, state: StateRoot, pid: Pid },
}

/// Starts `pikaci` in a group of its own, with an environment that is built from nothing.
pub(super) fn spawn(invocation: &Invocation<'_>) -> io::Result<Process> {
    let mut command = command(invocation)?;
    let mut child = command.spawn()?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), invocation.input.clone()) {
        // It reads it first of all. If the forge goes meanwhile, half of it is refused.
        tokio::spawn(async move {
            let written = tokio::time::timeout(INPUT_DEADLINE, stdin.write_all(&input)).await;
            if !matches!(written, Ok(Ok(()))) {
                tracing::warn!("a lane's pikaci did not read what it was to be told");
            }
        });
    }
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let group = group.ok_or_else(|| io::Error::other("the process has no id"))?;
    Ok(Process::Own { child, group })
}

/// Runs `pikaci` to its end, within a deadline.
pub(super) async fn run_to_end(invocation: &Invocation<'_>, deadline: Duration) -> io::Result<ExitStatus> {
    let mut command = command(invocation)?;
    let mut child = command.kill_on_drop(true).spawn()?;
    match tokio::time::timeout(deadline, child.wait()).await {
        Ok(status) => status,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long and was ended")),
    }
}

fn command(invocation: &Invocation<'_>) -> io::Result<Command> {
    File::create(invocation.stderr)?;
    // Appending: `bound_stderr` empties the file under its writer.
    let stderr = File::options().append(true).open(invocation.stderr)?;
    let mut command = Command::new(&invocation.pikaci.program);
    command
        .args(&invocation.arguments)
        .current_dir(invocation.folder)
        .env_clear()
        .envs(invocation.pikaci.environment.iter().map(|(name, value)| (name, value)))
        .env("PIKACI_STATE_ROOT", invocation.state.path())
        .stdin(if invocation.input.is_some() { Stdio::piped() } else { Stdio::null() })
        // The run's folder says all that its output says.
        .stdout(Stdio::null())
        .stderr(stderr)
        .process_group(0);
    Ok(command)
}

/// Finds the process of a run that an earlier forge has started.
pub(super) fn find(state: &StateRoot, run: &RunId) -> Option<Process> {
    let holder = pikaci::store::find_lock_holder(state, run).ok().flatten().map(|holder| holder.pid);
    // A process that has not opened its run yet is found by its arguments.
    let pid = holder.filter(|pid| is_process_of(*pid, run)).or_else(|| find_by_arguments(run))?;
    let pid = Pid::from_raw(pid.cast_signed())?;
    Some(Process::Adopted { run: run.clone(), state: state.clone(), pid })
}

fn find_by_arguments(run: &RunId) -> Option<u32> {
    let entries = std::fs::read_dir("/proc").ok()?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid| is_process_of(*pid, run))
}

/// Whether this process was started for this run: the run's id is one of its arguments, after `--run-id` or `resume`.
fn is_process_of(pid: u32, run: &RunId) -> bool {
    let path = PathBuf::from(format!("/proc/{pid}/cmdline"));
    let Ok(arguments) = std::fs::read(path) else { return false };
    let mut arguments = arguments.split(|byte| *byte == 0);
    arguments.any(|argument| argument == b"--run-id" || argument == b"resume")
        && arguments.next() == Some(run.as_str().as_bytes())
}

impl Process {
    /// Its id, which is that of its group too.
    pub(super) fn id(&self) -> u32 {
        let pid = match self {
            Process::Own { group, .. } => group,
            Process::Adopted { pid, .. } => pid,
        };
        pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits for its end. Says how it ended when that is known: the end of an adopted process is not.
    pub(super) async fn wait(&mut self) -> Option<ExitStatus> {
        match self {
            Process::Own { child, .. } => child.wait().await.ok(),
            Process::Adopted { run, state, pid } => {
                while is_alive(state, run, *pid) {
                    tokio::time::sleep(LOOK).await;
                }
                None
            }
        }
    }

    /// Signals its group. A group that is gone is what was wanted.
    pub(super) fn signal(&self, signal: Signal) {
        let group = match self {
            Process::Own { child, group } => child.id().map(|_| *group),
            Process::Adopted { run, pid, .. } => is_process_of(self.id(), run).then_some(*pid),
        };
        if let Some(group) = group {
            let _ = kill_process_group(group, signal);
        }
    }
}

fn is_alive(state: &StateRoot, run: &RunId, pid: Pid) -> bool {
    pikaci::store::is_locked(state, run).unwrap_or(false)
        || is_process_of(pid.as_raw_nonzero().get().cast_unsigned(), run)
}

/// Empties what a process has written to its standard error, but for its end, once it is long.
pub(super) fn bound_stderr(path: &Path) -> io::Result<()> {
    let mut file = File::options().read(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    if bytes <= STDERR_FILE_BYTES_MAX {
        return Ok(());
    }
    file.seek(SeekFrom::Start(bytes - STDERR_BYTES_MAX))?;
    let mut end = Vec::new();
    (&file).take(STDERR_BYTES_MAX).read_to_end(&mut end)?;
    file.set_len(0)?;
    file.write_all(&end)
}

/// Reads the end of what a process has written to its standard error, on one line.
pub(super) fn read_stderr(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(STDERR_BYTES_MAX)))?;
        let mut end = Vec::new();
        file.take(STDERR_BYTES_MAX).read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    };
    let text = read().unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests;
