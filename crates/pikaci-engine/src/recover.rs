//! Finishes the records of runs whose process is gone.
//!
//! A guest's result is worth keeping whatever became of the process that waited for it; a job without one was lost to the
//! machinery. Who sweeps holds the run's lock, so nothing is finished twice.

use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use pikaci::guest::{GuestResult, GuestStatus, RESULT_NAME};
use pikaci::store::{
    guest_log_path, host_log_path, is_locked, list_runs, load_plan, load_stored_run_record,
    open_in_run_beneath,
};
use pikaci::verdict::run_verdict;
use pikaci::{
    AttemptRecord, Event, ExecutorKind, Fault, GuestExit, JobRecord, JobSpec, JobStatus, Outcome, RunId,
    RunRecord, RunStatus, RunWriter, StateRoot, StoreError, verdict,
};

use crate::prepared::Store;

const RESULT_BYTES_MAX: u64 = 256 * 1024;

/// What a sweep did to one run.
#[derive(Debug)]
pub struct Swept {
    /// The run.
    pub run: RunId,
    /// Its outcome now, or why it could not be finished.
    pub outcome: Result<Outcome, StoreError>,
}

/// Finishes every interrupted run of a state root. A run that is alive, or finished, is left alone; one that cannot be
/// read does not stop the others.
pub fn sweep(state: &StateRoot) -> Result<Vec<Swept>, StoreError> {
    let mut swept = Vec::new();
    for run in list_runs(state)? {
        let is_running = match load_stored_run_record(state, &run) {
            Ok(record) => record.status == RunStatus::Running,
            Err(error) => {
                swept.push(Swept { run, outcome: Err(error) });
                continue;
            }
        };
        if !is_running {
            remove_scratch(state, &run);
            continue;
        }
        match finish(state, &run) {
            // Alive.
            Err(StoreError::Locked { .. }) => {}
            outcome => swept.push(Swept { run, outcome }),
        }
    }
    Ok(swept)
}

fn finish(state: &StateRoot, run: &RunId) -> Result<Outcome, StoreError> {
    let mut writer = RunWriter::reopen(state, run, Timestamp::now())?;
    // Its last event was written, and run.json was not: opening it folded its events again, and that is all it needed.
    if writer.record().status != RunStatus::Running {
        return Ok(writer.record().outcome.clone().unwrap_or(Outcome::Failed));
    }
    let is_cancelled = writer.is_cancel_requested();
    let plan = load_plan(state, run)?;
    for job in writer.record().jobs.clone() {
        if job.status == JobStatus::Running {
            // What a build left in its guest is no output before somebody has kept it.
            let planned = plan.iter().flat_map(|plan| &plan.jobs).find(|spec| spec.id == job.id);
            let result = read_result(state, run, &job).filter(|result| {
                result.status != GuestStatus::Passed || planned.is_none_or(|job| job.output.is_none())
            });
            let job = judged(result, job, is_cancelled);
            writer.append(&Event::JobFinished { run_id: run.clone(), job })?;
        }
    }
    let planned = plan.iter().flat_map(|plan| &plan.jobs);
    let unstarted: Vec<&JobSpec> =
        planned.filter(|job| writer.record().find_job(&job.id).is_none()).collect();
    for job in &unstarted {
        let job = never_began(job, writer.record());
        writer.append(&Event::JobFinished { run_id: run.clone(), job })?;
    }
    let has_unstarted = plan.is_none() || !unstarted.is_empty();
    let mut record = writer.record().clone();
    let (status, outcome, fault) = match run_verdict(&record.jobs) {
        _ if is_cancelled => (RunStatus::Failed, Outcome::Cancelled, Some(Fault::User)),
        // Jobs that never began are missing, and nobody decided that.
        (RunStatus::Passed | RunStatus::Skipped, _, _) if has_unstarted => {
            (RunStatus::Failed, Outcome::Failed, Some(Fault::Infra))
        }
        judged => judged,
    };
    (record.status, record.outcome, record.fault) = (status, Some(outcome.clone()), fault);
    record.finished_at = Some(Timestamp::now());
    record.message = Some("interrupted: the pikaci that ran it is gone".to_owned());
    writer.append(&Event::RunFinished { run: record })?;
    drop(writer);
    remove_scratch(state, run);
    Store::new(state).clear_half_made(run);
    Ok(outcome)
}

/// Removes what jobs could fill, when nobody is left to do it. Best effort: the next sweep tries again.
fn remove_scratch(state: &StateRoot, run: &RunId) {
    let scratch = state.run_dir(run).join("scratch");
    if scratch.exists() && is_locked(state, run).is_ok_and(|is_locked| !is_locked) {
        let _ = crate::snapshot::remove_tree(&scratch);
    }
}

fn judged(result: Option<GuestResult>, mut job: JobRecord, is_cancelled: bool) -> JobRecord {
    // Between two attempts, there is nothing new to judge.
    if let Some(latest) = job.attempts.last().filter(|latest| latest.started_at == job.started_at).cloned() {
        job.status = JobStatus::Failed;
        (job.outcome, job.fault) = (Some(latest.outcome), latest.fault);
        (job.exit_code, job.message) = (latest.exit_code, latest.message);
        job.finished_at = Some(latest.finished_at);
        return job;
    }
    let judged = verdict(match result {
        Some(result) => GuestExit::Result(result),
        None if is_cancelled => GuestExit::Cancelled,
        None => GuestExit::NoResult { detail: "interrupted: the pikaci that ran it is gone".to_owned() },
    });
    let finished_at = Timestamp::now();
    let number = u32::try_from(job.attempts.len()).unwrap_or(u32::MAX).saturating_add(1);
    job.attempts.push(AttemptRecord {
        number,
        outcome: judged.outcome.clone(),
        fault: judged.fault.clone(),
        started_at: job.started_at,
        finished_at,
        exit_code: judged.exit_code,
        message: judged.message.clone(),
    });
    job.status = judged.status;
    job.outcome = Some(judged.outcome);
    job.fault = judged.fault;
    job.exit_code = judged.exit_code;
    job.message = judged.message;
    job.finished_at = Some(finished_at);
    job
}

/// The record of a job that the run had not come to.
fn never_began(job: &JobSpec, run: &RunRecord) -> JobRecord {
    let now = Timestamp::now();
    JobRecord {
        id: job.id.clone(),
        description: job.description.clone(),
        status: JobStatus::Skipped,
        outcome: Some(Outcome::Skipped),
        fault: None,
        executor: run.jobs.first().map_or(ExecutorKind::HostLocal, |other| other.executor.clone()),
        plan_node_id: Some(format!("job/{}", job.id)),
        timeout_secs: job.timeout_secs,
        host_log_path: host_log_path(&job.id),
        guest_log_path: guest_log_path(&job.id),
        started_at: now,
        finished_at: Some(now),
        exit_code: None,
        message: Some("it never began: the run was interrupted".to_owned()),
        pre_execution_prepare_duration_ms: None,
        remote_linux_vm_execution: None,
        attempts: Vec::new(),
    }
}

/// The result that the job's guest left, unless it says that the runner was told to stop: by the loss of its process.
fn read_result(state: &StateRoot, run: &RunId, job: &JobRecord) -> Option<GuestResult> {
    read_result_in(&state.artifacts_dir(run, &job.id))
}

/// The same, by the folder.
pub(crate) fn read_result_in(artifacts: &Path) -> Option<GuestResult> {
    let file = open_in_run_beneath(artifacts, RESULT_NAME.as_ref()).ok()??;
    let mut content = Vec::new();
    file.take(RESULT_BYTES_MAX).read_to_end(&mut content).ok()?;
    GuestResult::parse(&content).ok().filter(|result| result.status != GuestStatus::Cancelled)
}
