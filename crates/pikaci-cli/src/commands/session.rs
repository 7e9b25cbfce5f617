//! Runs a request to its end and shows it: what `run` and `rerun` have in common.
//!
//! Invariant: the exit code is the recorded run's, and nothing else's.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;
use pikaci::verdict::exit_code;
use pikaci::{Event, RunId};
use pikaci_engine::{LocalConfig, LocalExecutor, RunError, RunRequest};
use tokio_util::sync::CancellationToken;

use crate::arguments::{Execution, Executor};
use crate::config::Config;
use crate::failure::Failure;
use crate::output::Reporter;
use crate::{GUEST_RUN, interrupt};

/// The name of the run to come.
pub(super) fn new_run_id(execution: &Execution) -> RunId {
    execution.run_id.clone().unwrap_or_else(|| RunId::random(Timestamp::now()))
}

/// Refuses what this program cannot run jobs on.
pub(super) fn check_executor(execution: &Execution) -> Result<(), Failure> {
    match execution.executor {
        Executor::Local => Ok(()),
        Executor::Incus => Err(Failure::usage_text(
            "this pikaci has no executor `incus` yet; use `--executor local`, which runs jobs in sandboxes on this machine",
        )),
    }
}

/// Runs the request, and cancels it when a signal says so. Returns the exit code.
pub(super) fn perform(
    mut request: RunRequest,
    execution: &Execution,
    config: &Config,
) -> Result<u8, Failure> {
    let slots = execution.jobs.or_else(|| thread::available_parallelism().ok());
    request.slots = slots.map_or(1, NonZeroUsize::get);
    let state = request.state.clone();
    let executor = LocalExecutor::new(LocalConfig {
        runner: config.program.clone(),
        runner_arguments: vec![GUEST_RUN.into()],
        bubblewrap: config.bubblewrap.clone(),
        path: config.path.clone(),
        path_folders: config.path_folders.clone(),
        home: config.home.clone(),
    });
    let reporter = Reporter::new(execution.output, config.is_terminal);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::infrastructure(anyhow::Error::new(error).context("cannot start the runtime"))
    })?;
    let record = runtime.block_on(async {
        let cancellation = CancellationToken::new();
        interrupt::listen(cancellation.clone())?;
        let mut observe = |event: &Event| reporter.event(event);
        pikaci_engine::run(request, Arc::new(executor), &mut observe, &cancellation).await.map_err(|error| {
            match error {
                RunError::Refused { .. } => Failure::usage(error),
                RunError::Store(error) => Failure::from(error),
            }
        })
    })?;
    reporter.finish(&state, &record);
    Ok(exit_code(&record))
}
