//! `pikaci resume`: takes up a run whose pikaci is gone; and the start of such processes for others.
//!
//! Invariant: who takes up a run holds its lock, so that of two only one does.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pikaci::store::{is_locked, list_runs, load_stored_run_record};
use pikaci::{ExecutorKind, RunId, RunStatus, StateRoot};

use super::session;
use crate::arguments::ResumeArguments;
use crate::config::Config;
use crate::failure::Failure;

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a new process may take until it holds a run's lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes up a run, and sees it to its end. Returns the run's exit code.
pub(crate) fn resume(arguments: &ResumeArguments, config: &Config) -> Result<u8, Failure> {
    let run = arguments.run.resolve(&config.state)?;
    session::take_up(&run, arguments, config)
}

/// The runs that nobody writes and whose guests may live on.
pub(super) fn interrupted(state: &StateRoot) -> Vec<RunId> {
    let is_one = |run: &RunId| {
        let is_free = || matches!(is_locked(state, run), Ok(false));
        load_stored_run_record(state, run).is_ok_and(|record| {
            record.status == RunStatus::Running
                && record.jobs.iter().any(|job| job.executor == ExecutorKind::RemoteLinuxVm)
                && is_free()
        })
    };
    list_runs(state).unwrap_or_default().into_iter().filter(is_one).collect()
}

/// Starts a process for each such run, and returns when each of them has its run, or is gone. Returns those that do.
pub(super) fn take_up_all(config: &Config) -> Vec<RunId> {
    let runs = interrupted(&config.state);
    runs.into_iter().filter(|run| take_up(run, config)).collect()
}

fn take_up(run: &RunId, config: &Config) -> bool {
    let mut command = Command::new(&config.program);
    command.arg("--state-root").arg(config.state.path()).args(["resume", run.as_str(), "--output", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A group of its own: what ends this process must not end that run.
    command.process_group(0).current_dir(&config.current_dir);
    let Ok(mut child) = command.spawn() else { return false };
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if is_locked(&config.state, run).unwrap_or(false) {
            return true;
        }
        if matches!(child.try_wait(), Ok(Some(_))) {
            // So quick that the lock was not seen: its record says whether it did anything.
            let record = load_stored_run_record(&config.state, run);
            return record.is_ok_and(|record| record.status != RunStatus::Running);
        }
        thread::sleep(LOOK_EVERY);
    }
    false
}
