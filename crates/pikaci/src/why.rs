//! Explains a run that did not pass: the first failing job, what it printed that matters, and how to see it again.
//!
//! Invariants: the verdict is the record's; what is picked from logs and reports is only shown beside it. Time and
//! memory are bounded, however long the log and however many the reports.

mod excerpt;
mod render;
mod reports;

use serde::Serialize;

use crate::id::{JobId, RunId, TargetId};
use crate::job::{JobCommand, JobSpec};
use crate::junit::FailedTest;
use crate::record::{ExecutorKind, Fault, JobRecord, JobStatus, Outcome, RunRecord, RunStatus};
use crate::store::{LogSide, StateRoot, StoreError, load_plan, load_run_record};

/// The most other failing jobs that are named; all are counted.
const OTHERS_MAX: usize = 20;

/// Why a run did not pass. `{}` writes it for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    /// The run.
    pub run_id: RunId,
    /// Its target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_id: Option<TargetId>,
    /// Where it stands.
    pub status: RunStatus,
    /// How it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Whose fault it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What the record says beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The first failing job: one that the tested code made fail before one that the machinery did. Absent when no job
    /// failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<FailedJob>,
    /// The first other jobs that failed.
    pub others: Vec<OtherJob>,
    /// How many other jobs failed.
    pub others_failed: usize,
    /// How many jobs were skipped.
    pub skipped: usize,
}

/// A job that did not pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailedJob {
    /// The job.
    pub id: JobId,
    /// What people read.
    pub description: String,
    /// What it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<JobCommand>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Whose fault it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The command's exit code; 128 plus the signal's number when a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The command's deadline, in seconds.
    pub timeout_secs: u64,
    /// How often it was tried.
    pub attempts: usize,
    /// What the record says beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What its JUnit reports say; absent when the plan names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestSummary>,
    /// The lines of its log that matter; absent without a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogExcerpt>,
    /// The command that runs it again.
    pub reproduce: String,
}

/// What a job's JUnit reports say together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TestSummary {
    /// How many reports were read.
    pub reports: usize,
    /// How many tests they list.
    pub tests: u64,
    /// How many of them did not pass.
    pub failed: u64,
    /// The first of these.
    pub failures: Vec<FailedTest>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

/// The lines of a log that matter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogExcerpt {
    /// The log, relative to the run's folder.
    pub path: String,
    /// Its length.
    pub total_bytes: u64,
    /// The lines, in their order. There may be others between them.
    pub lines: Vec<LogLine>,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogLine {
    /// Where the line begins in the log, in bytes.
    pub offset: u64,
    /// How many bytes it has there, its end included.
    pub bytes: u64,
    /// What it says, without escape sequences; a byte that is not UTF-8 is U+FFFD.
    pub text: String,
    /// Whether `text` is only part of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

/// Another job that did not pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OtherJob {
    /// The job.
    pub id: JobId,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Whose fault it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// Explains a run. A run that passed is explained by the absence of a job.
pub fn explain(state: &StateRoot, run: &RunId) -> Result<Why, StoreError> {
    let record = load_run_record(state, run)?;
    // The plan only adds to the explanation; a run may have failed before it was written.
    let plan = load_plan(state, run).ok().flatten();
    let mut failing: Vec<&JobRecord> = record.jobs.iter().filter(|job| is_failing(job)).collect();
    failing.sort_by_key(|job| urgency(job));
    let job = match failing.first() {
        Some(job) => {
            let spec = plan.as_ref().and_then(|plan| plan.jobs.iter().find(|spec| spec.id == job.id));
            Some(failed_job(state, &record, job, spec)?)
        }
        None => None,
    };
    let others = failing.get(1..).unwrap_or_default();
    Ok(Why {
        run_id: record.run_id.clone(),
        others: others.iter().take(OTHERS_MAX).map(|job| other_job(job)).collect(),
        others_failed: others.len(),
        skipped: record.jobs.iter().filter(|job| job.status == JobStatus::Skipped).count(),
        target_id: record.target_id,
        status: record.status,
        outcome: record.outcome,
        fault: record.fault,
        message: record.message,
        job,
    })
}

fn is_failing(job: &JobRecord) -> bool {
    matches!(job.status, JobStatus::Failed | JobStatus::Unknown(_))
}

/// What the tested code did explains more than what the machinery did, and that more than a stop somebody asked for.
fn urgency(job: &JobRecord) -> u8 {
    match &job.fault {
        Some(Fault::Job) => 0,
        Some(Fault::Infra) => 1,
        Some(Fault::Unknown(_)) | None => 2,
        Some(Fault::User) => 3,
    }
}

fn other_job(job: &JobRecord) -> OtherJob {
    OtherJob { id: job.id.clone(), outcome: job.outcome.clone(), fault: job.fault.clone() }
}

/// Gathers what the JUnit reports of a job say; `None` when the plan names none for it. Its failures are the first few.
pub fn read_tests(state: &StateRoot, run: &RunId, job: &JobId) -> Result<Option<TestSummary>, StoreError> {
    let plan = load_plan(state, run)?;
    let spec = plan.as_ref().and_then(|plan| plan.jobs.iter().find(|spec| spec.id == *job));
    match spec {
        Some(spec) if !spec.junit.is_empty() => reports::summary(state, run, job, &spec.junit).map(Some),
        Some(_) | None => Ok(None),
    }
}

fn failed_job(
    state: &StateRoot,
    record: &RunRecord,
    job: &JobRecord,
    spec: Option<&JobSpec>,
) -> Result<FailedJob, StoreError> {
    let run = &record.run_id;
    let tests = match spec {
        Some(spec) if !spec.junit.is_empty() => Some(reports::summary(state, run, &job.id, &spec.junit)?),
        Some(_) | None => None,
    };
    // When the machinery failed, the executor's own log knows more.
    let sides = match job.fault {
        Some(Fault::Infra) => [LogSide::Host, LogSide::Guest],
        _ => [LogSide::Guest, LogSide::Host],
    };
    let log = match excerpt::excerpt(state, run, &job.id, sides[0])? {
        Some(excerpt) => Some(excerpt),
        None => excerpt::excerpt(state, run, &job.id, sides[1])?,
    };
    Ok(FailedJob {
        id: job.id.clone(),
        description: job.description.clone(),
        command: spec.map(|spec| spec.command.clone()),
        outcome: job.outcome.clone(),
        fault: job.fault.clone(),
        exit_code: job.exit_code,
        timeout_secs: job.timeout_secs,
        attempts: job.attempts.len(),
        message: job.message.clone(),
        tests,
        log,
        reproduce: reproduce(record, job, spec),
    })
}

/// The command that runs the job again: where it ran, and on the commit that was tested, if that was all that was tested.
fn reproduce(record: &RunRecord, job: &JobRecord, spec: Option<&JobSpec>) -> String {
    let Some(target) = spec.map(|spec| &spec.target_id).or(record.target_id.as_ref()) else {
        return format!("pikaci rerun {} --failed", record.run_id);
    };
    // The head is offered for a shell, and the record may be forged.
    let head = record
        .git_head
        .as_deref()
        .filter(|head| matches!(head.len(), 40 | 64) && head.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let mut command = format!("pikaci run {target}/{}", job.id);
    if let (Some(head), Some(false)) = (head, record.git_dirty) {
        command.push_str(&format!(" --rev {head}"));
    }
    // Elsewhere it might pass, and it may be nothing that should run on the host.
    if job.executor == ExecutorKind::RemoteLinuxVm {
        command.push_str(" --executor incus");
    }
    command
}

#[cfg(test)]
mod tests;
