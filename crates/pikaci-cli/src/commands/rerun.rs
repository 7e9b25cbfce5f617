//! `pikaci rerun`

use pikaci::{ExecutorKind, RunRecord};
use pikaci_engine::run::RerunError;

use super::session;
use crate::arguments::{Executor, RerunArguments};
use crate::config::Config;
use crate::failure::Failure;

/// Runs the jobs of an earlier run again, on the same tree and where they ran. Returns the new run's exit code.
pub(crate) fn rerun(arguments: &RerunArguments, config: &Config) -> Result<u8, Failure> {
    let earlier = arguments.run.resolve(&config.state)?;
    let run_id = session::new_run_id(&arguments.execution);
    let request = pikaci_engine::rerun(&config.state, &earlier, run_id, arguments.failed).map_err(
        |error| match error {
            RerunError::Store(error) => Failure::from(error),
            RerunError::Running { .. } | RerunError::NoPlan { .. } | RerunError::NothingFailed { .. } => {
                Failure::usage(error)
            }
        },
    )?;
    let record = pikaci::load_run_record(&config.state, &earlier).map_err(Failure::from)?;
    // What was tested in an instance is not let loose on the host because nobody said otherwise.
    let executor = executor_of(&record).unwrap_or(config.executor);
    session::perform(request, &arguments.execution, &Config { executor, ..config.clone() })
}

/// Where a run's jobs ran; `None` where nobody knows any more.
fn executor_of(record: &RunRecord) -> Option<Executor> {
    match record.jobs.first()?.executor {
        ExecutorKind::HostLocal => Some(Executor::Local),
        ExecutorKind::RemoteLinuxVm => Some(Executor::Incus),
        ExecutorKind::Unknown(_) => None,
    }
}
