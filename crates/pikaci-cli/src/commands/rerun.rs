//! `pikaci rerun`

use pikaci_engine::run::RerunError;

use super::session;
use crate::arguments::RerunArguments;
use crate::config::Config;
use crate::failure::Failure;

/// Runs the jobs of an earlier run again, on the same tree. Returns the new run's exit code.
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
    session::perform(request, &arguments.execution, config)
}
