//! A whole executor without a guest: each attempt ends as its script says. For the engine's own tests, and for trying a
//! front end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use pikaci::guest::{GuestResult, GuestStatus};
use pikaci::record::phase;
use pikaci::{ExecutorKind, GuestExit, JobId, JobSpec};
use tokio_util::sync::CancellationToken;

use super::{Attempt, Boxed, Execution, Executor, Phases};

/// How one attempt ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// With this exit code.
    Exit(i32),
    /// At the guest's deadline.
    TimeOut,
    /// The guest is gone, without a result.
    Vanish,
    /// The guest refuses to start the command.
    Refuse,
    /// Not at all, until it is cancelled.
    Hang,
    /// With exit code 0, but cleaning up fails.
    Litter,
}

/// Plays scripts.
#[derive(Debug, Default)]
pub struct ScriptedExecutor {
    scripts: Mutex<BTreeMap<JobId, Vec<Script>>>,
    /// What [`Executor::check`] answers.
    pub refusals: Vec<String>,
    /// What [`Executor::image`] answers.
    pub image: String,
}

impl ScriptedExecutor {
    /// Plays, for each job, its scripts in turn, the last one again and again. A job without a script passes.
    pub fn new(scripts: BTreeMap<JobId, Vec<Script>>) -> ScriptedExecutor {
        ScriptedExecutor { scripts: Mutex::new(scripts), ..ScriptedExecutor::default() }
    }

    fn next(&self, job: &JobId) -> Script {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        match scripts.get_mut(job) {
            Some(scripts) if scripts.len() > 1 => scripts.remove(0),
            Some(scripts) => scripts.first().cloned().unwrap_or(Script::Exit(0)),
            None => Script::Exit(0),
        }
    }
}

impl Executor for ScriptedExecutor {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::HostLocal
    }

    fn check<'a>(&'a self, _jobs: &'a [JobSpec]) -> Boxed<'a, Vec<String>> {
        Box::pin(async { self.refusals.clone() })
    }

    fn image<'a>(&'a self, _job: &'a JobSpec) -> Boxed<'a, Result<String, String>> {
        Box::pin(async { Ok(self.image.clone()) })
    }

    fn execute<'a>(&'a self, attempt: &'a Attempt, cancel: &'a CancellationToken) -> Boxed<'a, Execution> {
        Box::pin(async move {
            let mut phases = Phases::new(attempt, "scripted");
            let script = self.next(&attempt.job.id);
            let result = |status, exit_code| {
                let now = Timestamp::UNIX_EPOCH;
                GuestExit::Result(GuestResult {
                    status,
                    exit_code,
                    started_at: now,
                    finished_at: now,
                    message: None,
                })
            };
            let play = async {
                Ok::<_, std::convert::Infallible>(match &script {
                    Script::Exit(0) | Script::Litter => result(GuestStatus::Passed, Some(0)),
                    Script::Exit(code) => result(GuestStatus::Failed, Some(*code)),
                    Script::TimeOut => result(GuestStatus::TimedOut, None),
                    Script::Refuse => result(GuestStatus::Refused, None),
                    Script::Vanish => GuestExit::NoResult { detail: "the guest vanished".to_owned() },
                    Script::Hang => {
                        // A hang that nobody cancels is a test's mistake: end it.
                        let _ = tokio::time::timeout(Duration::from_secs(60), cancel.cancelled()).await;
                        GuestExit::Cancelled
                    }
                })
            };
            let Ok(exit) = phases.run(phase::WAIT_FOR_COMPLETION, play).await;
            if let Some(out) = attempt.out()
                && matches!(script, Script::Exit(0) | Script::Litter)
            {
                // What a guest would leave: who made it.
                let made = std::fs::create_dir_all(&out)
                    .and_then(|()| std::fs::write(out.join("made-by"), attempt.run_id.as_str()));
                if let Err(error) = made {
                    attempt.host_log.line(format!("cannot leave an output: {error}"));
                }
            }
            let littered = script == Script::Litter;
            let cleanup = Box::pin(async move {
                if littered { Err("the guest could not be deleted".to_owned()) } else { Ok(()) }
            });
            Execution { exit, record: phases.finish(), cleanup }
        })
    }
}
