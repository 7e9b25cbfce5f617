//! Finishes the records of runs whose process is gone.
//!
//! A guest's result is worth keeping whatever became of the process that waited for it; a job without one was lost to the
//! machinery. Who sweeps holds the run's lock, so nothing is finished twice.

use std::fs;
use std::io::Read as _;

use jiff::Timestamp;
use pikaci::guest::{GuestResult, RESULT_NAME};
use pikaci::store::{list_runs, load_plan, load_stored_run_record, open_in_run_beneath};
use pikaci::verdict::run_verdict;
use pikaci::{
    AttemptRecord, Event, Fault, GuestExit, JobRecord, JobStatus, Outcome, RunId, RunStatus, RunWriter,
    StateRoot, StoreError, verdict,
};

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
    if let (RunStatus::Passed | RunStatus::Failed | RunStatus::Skipped, Some(outcome)) =
        (&writer.record().status, &writer.record().outcome)
    {
        // Its last event was written, and run.json was not: folding again is all it needed.
        let outcome = outcome.clone();
        let run = writer.record().clone();
        writer.append(&Event::RunFinished { run })?;
        return Ok(outcome);
    }
    for job in writer.record().jobs.clone() {
        if job.status == JobStatus::Running {
            let job = judged(state, run, job);
            writer.append(&Event::JobFinished { run_id: run.clone(), job })?;
        }
    }
    let has_unstarted = load_plan(state, run)?
        .is_none_or(|plan| plan.jobs.iter().any(|job| writer.record().find_job(&job.id).is_none()));
    let mut record = writer.record().clone();
    let (status, outcome, fault) = match run_verdict(&record.jobs) {
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
    // Best effort: what is left there belongs to nobody now.
    let _ = crate::snapshot::remove_tree(&state.run_dir(run).join("scratch"));
    Ok(outcome)
}

fn judged(state: &StateRoot, run: &RunId, mut job: JobRecord) -> JobRecord {
    let judged = verdict(match read_result(state, run, &job) {
        Some(result) => GuestExit::Result(result),
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

/// The result that the job's guest left, unless it says that the runner was told to stop: by the loss of its process.
fn read_result(state: &StateRoot, run: &RunId, job: &JobRecord) -> Option<GuestResult> {
    use pikaci::guest::GuestStatus;
    let file = open_in_run_beneath(&state.artifacts_dir(run, &job.id), RESULT_NAME.as_ref()).ok()??;
    let mut content = Vec::new();
    file.take(RESULT_BYTES_MAX).read_to_end(&mut content).ok()?;
    GuestResult::parse(&content).ok().filter(|result| result.status != GuestStatus::Cancelled)
}

/// Removes what half-made runs left behind: folders that never got their name.
pub fn remove_unborn(state: &StateRoot) -> std::io::Result<()> {
    let Ok(entries) = fs::read_dir(state.runs_dir()) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_unborn = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")).is_some();
        let is_old = entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age.as_secs() > 3600);
        if is_unborn && is_old {
            crate::snapshot::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}
