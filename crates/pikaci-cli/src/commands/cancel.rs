//! `pikaci cancel`
//!
//! Invariant: only the process that holds the run's lock is sent a signal.

use std::thread;
use std::time::{Duration, Instant};

use pikaci::store::{find_lock_holder, is_locked};
use pikaci::{RunId, StateRoot, load_run_record};
use rustix::process::{Pid, Signal, kill_process};

use super::DONE;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{print_line, run_state};
use crate::run_name::RunName;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Processes get 5 s before they are killed; records and clean-up come after that.
const PATIENCE: Duration = Duration::from_secs(15);

/// Stops a run and waits until it has ended.
pub(crate) fn cancel(name: &RunName, config: &Config) -> Result<u8, Failure> {
    let (state, run) = (&config.state, name.resolve(&config.state)?);
    // Said of a run that does not exist, or cannot be read.
    load_run_record(state, &run)?;
    if let Some(holder) = find_lock_holder(state, &run)? {
        let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, Signal::TERM));
        if let Some(Err(error)) = sent
            && is_locked(state, &run)?
        {
            let context = format!("cannot stop run {run}: no signal reaches {holder}");
            return Err(Failure::infrastructure(anyhow::Error::new(error).context(context)));
        }
        wait_for_end(state, &run)?;
    }
    print_line(&format!("run {run} {}", run_state(&load_run_record(state, &run)?)));
    Ok(DONE)
}

fn wait_for_end(state: &StateRoot, run: &RunId) -> Result<(), Failure> {
    let start = Instant::now();
    while is_locked(state, run)? {
        if start.elapsed() > PATIENCE {
            let limit = PATIENCE.as_secs();
            return Err(Failure::infrastructure(anyhow::anyhow!(
                "run {run} was told to stop and has not ended within {limit} s; `pikaci status {run}` says who writes it"
            )));
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
