//! Runs a request to its end and shows it: what `run`, `rerun` and `resume` have in common.
//!
//! Invariant: the exit code is the recorded run's, and nothing else's.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use pikaci::verdict::exit_code;
use pikaci::{Event, RunId, RunRecord};
use pikaci_engine::executor::incus;
use pikaci_engine::{IncusExecutor, LocalConfig, LocalExecutor, ResumeError, RunError, RunRequest};
use tokio_util::sync::CancellationToken;

use super::{resume, secrets};
use crate::arguments::{Execution, Executor, ResumeArguments};
use crate::config::Config;
use crate::failure::Failure;
use crate::output::Reporter;
use crate::{GUEST_RUN, incus as operator, interrupt};

/// How long the end of a run waits for the sweep that began with it.
const SWEEP_PATIENCE: Duration = Duration::from_secs(5);

/// The name of the run to come.
pub(super) fn new_run_id(execution: &Execution) -> RunId {
    execution.run_id.clone().unwrap_or_else(|| RunId::random(Timestamp::now()))
}

/// Runs the request, and cancels it when a signal says so. Returns the exit code.
pub(super) fn perform(
    mut request: RunRequest,
    execution: &Execution,
    config: &Config,
) -> Result<u8, Failure> {
    request.slots = slots(execution.jobs);
    request.nix = config.nix.clone();
    request.secrets = secrets::read(execution, &config.current_dir)?;
    let state = request.state.clone();
    let executor = execution.executor.unwrap_or(config.executor);
    let reporter = Reporter::new(execution.output, config.is_terminal);
    let record = block_on(async {
        let cancellation = CancellationToken::new();
        interrupt::listen(cancellation.clone())?;
        let mut observe = |event: &Event| reporter.event(event);
        match executor {
            Executor::Local => {
                let executor = Arc::new(local(config));
                ran(pikaci_engine::run(request, executor, &mut observe, &cancellation).await)
            }
            Executor::Incus => {
                let settings = operator::settings(config)?;
                let executor = Arc::new(IncusExecutor::new(settings.clone()));
                let swept = tokio::spawn({
                    let (config, client) = (config.clone(), executor.client().clone());
                    // Off the way of this run; what it could not do, the next one tries again.
                    async move {
                        let state = config.state.clone();
                        // It waits for processes, and this run has but one thread.
                        let taken_up =
                            tokio::task::spawn_blocking(move || resume::take_up_all(&config)).await;
                        if taken_up.is_err() {
                            return;
                        }
                        let _ = incus::sweep(&client, &settings, &state).await;
                    }
                });
                let record = ran(pikaci_engine::run(request, executor, &mut observe, &cancellation).await);
                let _ = tokio::time::timeout(SWEEP_PATIENCE, swept).await;
                record
            }
        }
    })?;
    reporter.finish(&state, &record);
    Ok(exit_code(&record))
}

/// Takes up a run whose process is gone. Returns its exit code.
pub(super) fn take_up(run: &RunId, arguments: &ResumeArguments, config: &Config) -> Result<u8, Failure> {
    let reporter = Reporter::new(arguments.output, config.is_terminal);
    let record = block_on(async {
        let cancellation = CancellationToken::new();
        interrupt::listen(cancellation.clone())?;
        let mut observe = |event: &Event| reporter.event(event);
        let executor = Arc::new(IncusExecutor::new(operator::settings(config)?));
        let slots = slots(arguments.jobs);
        let (state, nix) = (&config.state, config.nix.clone());
        let resumed = pikaci_engine::resume(state, run, slots, nix, executor, &mut observe, &cancellation);
        resumed.await.map_err(|error| match error {
            ResumeError::Store(error) => Failure::from(error),
            ResumeError::Over { .. } | ResumeError::NoPlan { .. } => Failure::usage(error),
        })
    })?;
    reporter.finish(&config.state, &record);
    Ok(exit_code(&record))
}

fn ran(record: Result<RunRecord, RunError>) -> Result<RunRecord, Failure> {
    record.map_err(|error| match error {
        RunError::Refused { .. } => Failure::usage(error),
        RunError::Store(error) => Failure::from(error),
    })
}

fn slots(jobs: Option<NonZeroUsize>) -> usize {
    jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

fn local(config: &Config) -> LocalExecutor {
    LocalExecutor::new(LocalConfig {
        runner: config.program.clone(),
        runner_arguments: vec![GUEST_RUN.into()],
        bubblewrap: config.bubblewrap.clone(),
        path: config.path.clone(),
        path_folders: config.path_folders.clone(),
        home: config.home.clone(),
    })
}

/// Runs something on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::infrastructure(anyhow::Error::new(error).context("cannot start the runtime"))
    })?;
    runtime.block_on(work)
}
