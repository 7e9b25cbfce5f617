//! Turns the facts of an execution into a verdict, once.
//!
//! Invariant: output is never consulted. A test that prints "connection refused" is still a test.

use std::time::Duration;

use crate::guest::{GuestResult, GuestStatus};
use crate::record::{Fault, JobRecord, JobStatus, Outcome, RunRecord, RunStatus};

/// How a guest ended, as the executor saw it.
#[derive(Clone, Debug, PartialEq)]
pub enum GuestExit {
    /// The guest wrote a result.
    Result(GuestResult),
    /// The host's own deadline passed without a result; it is later than the guest's.
    HostDeadline {
        /// The deadline.
        limit: Duration,
    },
    /// The run was cancelled before a result was there.
    Cancelled,
    /// The guest is gone, or could not be made, and there is no result.
    NoResult {
        /// What is known.
        detail: String,
    },
}

/// What a job's end means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// For the record.
    pub status: JobStatus,
    /// How it ended.
    pub outcome: Outcome,
    /// Whose fault it was.
    pub fault: Option<Fault>,
    /// The command's exit code, when there was one.
    pub exit_code: Option<i32>,
    /// What a reader should know beyond the outcome.
    pub message: Option<String>,
}

impl Verdict {
    /// Whether another attempt may be made without being asked.
    pub fn is_retryable(&self) -> bool {
        self.fault == Some(Fault::Infra)
    }

    fn infra(message: String) -> Verdict {
        Verdict {
            status: JobStatus::Failed,
            outcome: Outcome::Failed,
            fault: Some(Fault::Infra),
            exit_code: None,
            message: Some(message),
        }
    }
}

/// Judges one attempt at a job.
pub fn verdict(exit: GuestExit) -> Verdict {
    let result = match exit {
        GuestExit::Result(result) => result,
        GuestExit::HostDeadline { limit } => {
            return Verdict::infra(format!("the guest gave no result within {} s", limit.as_secs()));
        }
        GuestExit::Cancelled => {
            return Verdict {
                status: JobStatus::Failed,
                outcome: Outcome::Cancelled,
                fault: Some(Fault::User),
                exit_code: None,
                message: None,
            };
        }
        GuestExit::NoResult { detail } => return Verdict::infra(detail),
    };
    let GuestResult { status, exit_code, message, .. } = result;
    let (status, outcome, fault) = match status {
        GuestStatus::Passed => (JobStatus::Passed, Outcome::Passed, None),
        GuestStatus::Failed => (JobStatus::Failed, Outcome::Failed, Some(Fault::Job)),
        GuestStatus::TimedOut => (JobStatus::Failed, Outcome::TimedOut, Some(Fault::Job)),
        GuestStatus::Cancelled => (JobStatus::Failed, Outcome::Cancelled, Some(Fault::User)),
        GuestStatus::Refused => (JobStatus::Failed, Outcome::Failed, Some(Fault::Infra)),
        GuestStatus::Unknown(word) => {
            return Verdict::infra(format!(
                "the guest runner reports {word:?}, which this pikaci does not know"
            ));
        }
    };
    Verdict { status, outcome, fault, exit_code, message }
}

/// Judges a run from its jobs. What a person did outweighs what the code did, and that outweighs the machinery: a run
/// with a failing test and a lost guest is red because of the test.
pub fn run_verdict(jobs: &[JobRecord]) -> (RunStatus, Outcome, Option<Fault>) {
    let ended = |outcome: Outcome, fault: Option<Fault>| {
        jobs.iter()
            .any(|job| job.outcome.as_ref() == Some(&outcome) && (fault.is_none() || job.fault == fault))
    };
    if ended(Outcome::Cancelled, None) {
        (RunStatus::Failed, Outcome::Cancelled, Some(Fault::User))
    } else if ended(Outcome::Failed, Some(Fault::Job)) {
        (RunStatus::Failed, Outcome::Failed, Some(Fault::Job))
    } else if ended(Outcome::TimedOut, None) {
        (RunStatus::Failed, Outcome::TimedOut, Some(Fault::Job))
    } else if jobs
        .iter()
        .any(|job| matches!(job.status, JobStatus::Failed | JobStatus::Unknown(_) | JobStatus::Running))
    {
        (RunStatus::Failed, Outcome::Failed, Some(Fault::Infra))
    } else if jobs.iter().any(|job| job.status == JobStatus::Passed) {
        (RunStatus::Passed, Outcome::Passed, None)
    } else {
        (RunStatus::Skipped, Outcome::Skipped, None)
    }
}

/// The exit code of the command line for a finished run.
///
/// 0 passed or skipped, 1 a job failed, 3 infrastructure, 4 timed out, 130 cancelled. 2, usage or manifest, is not the
/// code of any run.
pub fn exit_code(run: &RunRecord) -> u8 {
    match (&run.status, &run.outcome, &run.fault) {
        (RunStatus::Passed | RunStatus::Skipped, _, _) => 0,
        (_, Some(Outcome::Cancelled), _) => 130,
        (_, Some(Outcome::TimedOut), _) => 4,
        (RunStatus::Failed, Some(Outcome::Failed), Some(Fault::Job)) => 1,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(status: GuestStatus, exit_code: Option<i32>) -> GuestExit {
        let now = "2026-03-01T14:22:33Z".parse().unwrap();
        GuestExit::Result(GuestResult { status, exit_code, started_at: now, finished_at: now, message: None })
    }

    fn judged(exit: GuestExit) -> String {
        let verdict = verdict(exit);
        let fault = verdict.fault.as_ref().map_or("nobody", Fault::as_str);
        format!("{} {} {fault} {:?}", verdict.status, verdict.outcome, verdict.exit_code)
    }

    #[test]
    fn every_end_has_one_verdict() {
        assert_eq!(judged(result(GuestStatus::Passed, Some(0))), "passed passed nobody Some(0)");
        assert_eq!(judged(result(GuestStatus::Failed, Some(124))), "failed failed job Some(124)");
        assert_eq!(judged(result(GuestStatus::Failed, Some(137))), "failed failed job Some(137)");
        assert_eq!(judged(result(GuestStatus::TimedOut, None)), "failed timed_out job None");
        assert_eq!(judged(result(GuestStatus::Cancelled, None)), "failed cancelled user None");
        assert_eq!(judged(result(GuestStatus::Refused, None)), "failed failed infra None");
        assert_eq!(
            judged(result(GuestStatus::Unknown("vanished".into()), Some(0))),
            "failed failed infra None"
        );
        assert_eq!(judged(GuestExit::Cancelled), "failed cancelled user None");
        assert_eq!(judged(GuestExit::NoResult { detail: "lost".into() }), "failed failed infra None");
        assert_eq!(
            judged(GuestExit::HostDeadline { limit: Duration::from_secs(9) }),
            "failed failed infra None"
        );
    }

    fn ended(outcome: Outcome, fault: Option<Fault>) -> JobRecord {
        let status = match outcome {
            Outcome::Passed => "passed",
            Outcome::Skipped => "skipped",
            _ => "failed",
        };
        let text = format!(
            r#"{{"id":"job","status":"{status}","executor":"host_local","started_at":"2026-03-01T14:22:33Z"}}"#
        );
        JobRecord { outcome: Some(outcome), fault, ..serde_json::from_str(&text).unwrap() }
    }

    /// The run's outcome, fault and exit code.
    fn judged_run(jobs: &[JobRecord]) -> String {
        let (status, outcome, fault) = run_verdict(jobs);
        let text = r#"{"run_id":"20260301T142233Z-7f3a9c10","created_at":"2026-03-01T14:22:33Z"}"#;
        let mut run: RunRecord = serde_json::from_str(text).unwrap();
        (run.status, run.outcome, run.fault) = (status, Some(outcome.clone()), fault.clone());
        format!("{outcome} {} {}", fault.as_ref().map_or("nobody", Fault::as_str), exit_code(&run))
    }

    #[test]
    fn a_run_is_judged_by_what_weighs_most() {
        let passed = ended(Outcome::Passed, None);
        let skipped = ended(Outcome::Skipped, None);
        let failed = ended(Outcome::Failed, Some(Fault::Job));
        let lost = ended(Outcome::Failed, Some(Fault::Infra));
        let late = ended(Outcome::TimedOut, Some(Fault::Job));
        let cancelled = ended(Outcome::Cancelled, Some(Fault::User));
        assert_eq!(judged_run(&[passed.clone(), skipped.clone()]), "passed nobody 0");
        assert_eq!(judged_run(std::slice::from_ref(&skipped)), "skipped nobody 0");
        assert_eq!(judged_run(&[]), "skipped nobody 0");
        assert_eq!(judged_run(&[lost.clone(), passed.clone()]), "failed infra 3");
        assert_eq!(judged_run(&[lost.clone(), late.clone()]), "timed_out job 4");
        assert_eq!(judged_run(&[late.clone(), failed.clone(), lost, skipped]), "failed job 1");
        assert_eq!(judged_run(&[failed, cancelled, passed]), "cancelled user 130");
    }
}
