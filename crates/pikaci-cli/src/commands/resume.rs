//! `pikaci resume`: takes up a run whose pikaci is gone; and the start of such processes for others.
//!
//! Invariant: who takes up a run holds its lock, so that of two only one does.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pikaci::store::{is_locked, list_runs, load_stored_run_record};
use pikaci::{ExecutorKind, RunId, RunStatus, StateRoot};

use super::session;
use crate::arguments::ResumeArguments;
use crate::config::Config;
use crate::failure::Failure;

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long new processes may take until each holds its run's lock.
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
    let start = Instant::now();
    // All at once, so that one that hangs delays the others by nothing.
    let started: Vec<_> = interrupted(&config.state)
        .into_iter()
        .filter_map(|run| Some((start_taking_up(&run, config).ok()?, run)))
        .collect();
    let has_run = |(child, run): (Child, RunId)| wait_for_lock(child, &run, config, start).then_some(run);
    started.into_iter().filter_map(has_run).collect()
}

fn start_taking_up(run: &RunId, config: &Config) -> io::Result<Child> {
    let mut command = Command::new(&config.program);
    command.arg("--state-root").arg(config.state.path()).args(["resume", run.as_str(), "--output", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A group of its own: what ends this process must not end that run.
    command.process_group(0).current_dir(&config.current_dir).spawn()
}

/// Whether the process has its run, within the time that all of them have.
fn wait_for_lock(mut child: Child, run: &RunId, config: &Config, start: Instant) -> bool {
    loop {
        if is_locked(&config.state, run).unwrap_or(false) {
            return true;
        }
        if matches!(child.try_wait(), Ok(Some(_))) {
            // So quick that the lock was not seen: its record says whether it did anything.
            let record = load_stored_run_record(&config.state, run);
            return record.is_ok_and(|record| record.status != RunStatus::Running);
        }
        if start.elapsed() >= PATIENCE {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}
