//! What a page shows of a run's record.
//!
//! Invariant: what a guest could make long (artifacts, jobs' messages) is bounded before it gets here or here.

use std::fs;
use std::path::Path;

use pikaci::why::{self, Why};
use pikaci::{Fault, JobId, JobRecord, RunId, RunRecord, RunStatus, StateRoot};

use super::log::{LogSection, Window};
use crate::web::error::WebError;
use crate::web::words::{self, Status};
use crate::web::{live, time};

const ARTIFACTS_SHOWN: usize = 100;
/// How deep folders of artifacts are looked into.
const ARTIFACT_DEPTH_MAX: usize = 6;

/// A run, ready for the page.
#[derive(Default)]
pub(super) struct RunSection {
    pub(super) why: Option<Why>,
    pub(super) jobs: Vec<JobRow>,
    pub(super) phases: Vec<PhaseRow>,
    pub(super) artifacts: Vec<Artifact>,
    pub(super) log: Option<LogSection>,
}

/// A job in the table.
pub(super) struct JobRow {
    pub(super) id: String,
    pub(super) description: String,
    pub(super) message: Option<String>,
    pub(super) status: Status,
    pub(super) fault: Option<Fault>,
    pub(super) exit_code: Option<i32>,
    pub(super) duration: String,
    pub(super) has_begun: bool,
    pub(super) guest_bytes: u64,
    pub(super) earlier_attempts: Vec<u32>,
}

/// A phase in the table. The bar is in thousandths of the whole.
pub(super) struct PhaseRow {
    pub(super) job: Option<JobId>,
    pub(super) name: String,
    pub(super) duration_ms: u64,
    pub(super) outcome: Option<String>,
    pub(super) bar_start: u64,
    pub(super) bar_width: u64,
}

/// A file that a job left.
pub(super) struct Artifact {
    pub(super) job: JobId,
    pub(super) path: String,
    pub(super) bytes: u64,
}

impl RunSection {
    /// Reads everything about a run that its page shows. Blocks.
    pub(super) fn read(state: &StateRoot, run: &RunId, window: &Window) -> Result<RunSection, WebError> {
        let record = pikaci::load_run_record(state, run)?;
        if let Some(job) = &window.job
            && record.status != RunStatus::Running
            && record.find_job(job).is_none()
        {
            return Err(pikaci::StoreError::JobMissing { run: run.clone(), job: job.clone() }.into());
        }
        let is_bad = matches!(record.status, RunStatus::Failed | RunStatus::Unknown(_));
        Ok(RunSection {
            why: if is_bad { why::explain(state, run).ok() } else { None },
            jobs: jobs(state, &record),
            phases: phases(&record),
            artifacts: artifacts(state, &record),
            log: LogSection::read(state, &record, window)?,
        })
    }
}

fn jobs(state: &StateRoot, record: &RunRecord) -> Vec<JobRow> {
    let metadata = pikaci::load_logs_metadata(state, &record.run_id, None).ok();
    let guest_bytes = |id: &JobId| {
        let jobs = metadata.iter().flat_map(|metadata| &metadata.jobs);
        jobs.filter(|job| job.id == *id).map(|job| job.guest_log_bytes).sum()
    };
    let mut rows: Vec<JobRow> =
        record.jobs.iter().map(|job| begun(record, job, guest_bytes(&job.id))).collect();
    let plan = pikaci::store::load_plan(state, &record.run_id).ok().flatten();
    let waiting = plan.iter().flat_map(|plan| &plan.jobs).filter(|spec| record.find_job(&spec.id).is_none());
    rows.extend(waiting.map(|spec| JobRow {
        id: spec.id.to_string(),
        description: spec.description.clone(),
        message: None,
        status: words::planned(record),
        fault: None,
        exit_code: None,
        duration: String::new(),
        has_begun: false,
        guest_bytes: 0,
        earlier_attempts: Vec::new(),
    }));
    rows
}

fn begun(record: &RunRecord, job: &JobRecord, guest_bytes: u64) -> JobRow {
    JobRow {
        id: job.id.to_string(),
        description: job.description.clone(),
        message: job.message.clone(),
        status: words::job(job),
        fault: job.fault.clone(),
        exit_code: job.exit_code,
        duration: time::span(job.started_at, job.finished_at),
        has_begun: true,
        guest_bytes,
        earlier_attempts: (1..live::current_attempt(record, &job.id)).collect(),
    }
}

fn phases(record: &RunRecord) -> Vec<PhaseRow> {
    let begin = record.created_at.as_millisecond();
    let ends =
        record.jobs.iter().flat_map(|job| job.remote_linux_vm_execution.iter().flat_map(|run| &run.phases));
    let end = ends.map(|phase| phase.finished_at).chain(record.finished_at).max();
    let whole = u64::try_from(end.map_or(0, |end| end.as_millisecond() - begin)).unwrap_or(0).max(1);
    let row = |job: Option<JobId>,
               name: &str,
               started: jiff::Timestamp,
               duration_ms: u64,
               outcome: Option<String>| {
        let before = u64::try_from(started.as_millisecond() - begin).unwrap_or(0);
        let bar_start = (before.saturating_mul(1000) / whole).min(995);
        let bar_width = (duration_ms.saturating_mul(1000) / whole).clamp(5, 1000 - bar_start);
        PhaseRow { job, name: name.replace('_', " "), duration_ms, outcome, bar_start, bar_width }
    };
    let prepared = record
        .prepare_timings
        .iter()
        .map(|timing| row(None, &timing.node_id, timing.started_at, timing.duration_ms, None));
    let of_jobs = record.jobs.iter().flat_map(|job| {
        let phases = job.remote_linux_vm_execution.iter().flat_map(|execution| &execution.phases);
        phases.map(|phase| {
            let outcome = phase.outcome.clone().filter(|outcome| outcome != "ok");
            row(Some(job.id.clone()), &phase.phase, phase.started_at, phase.duration_ms, outcome)
        })
    });
    prepared.chain(of_jobs).collect()
}

fn artifacts(state: &StateRoot, record: &RunRecord) -> Vec<Artifact> {
    let mut found = Vec::new();
    for job in &record.jobs {
        let folder = state.artifacts_dir(&record.run_id, &job.id);
        list_artifacts(&folder, Path::new(""), &job.id, 0, &mut found);
    }
    found.retain(|artifact| {
        artifact.path != pikaci::guest::LOG_NAME && artifact.path != pikaci::guest::RESULT_NAME
    });
    found.sort_by(|one, other| (&one.job, &one.path).cmp(&(&other.job, &other.path)));
    found
}

/// Lists regular files. No link is followed: the folder's content is the guest's.
fn list_artifacts(folder: &Path, below: &Path, job: &JobId, depth: usize, found: &mut Vec<Artifact>) {
    let Ok(entries) = fs::read_dir(folder.join(below)) else { return };
    for entry in entries.flatten() {
        if found.len() >= ARTIFACTS_SHOWN {
            return;
        }
        let (path, Ok(metadata)) = (below.join(entry.file_name()), entry.metadata()) else { continue };
        if metadata.is_dir() && depth < ARTIFACT_DEPTH_MAX {
            list_artifacts(folder, &path, job, depth + 1, found);
        } else if metadata.is_file() {
            let path = path.to_string_lossy().into_owned();
            found.push(Artifact { job: job.clone(), path, bytes: metadata.len() });
        }
    }
}
