//! What happens in a run, as it is appended to `events.jsonl` and printed with `--output jsonl`.
//!
//! Invariant: `run.json` is [`fold`] of the events, whether the run is live, finished or recovered. An event that this
//! version does not know changes nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, JobId, RunId, TargetId};
use crate::record::{
    AttemptRecord, JobRecord, PrepareTiming, RemoteLinuxVmPhaseRecord, RunRecord, RunStatus, SCHEMA_VERSION,
};

/// One event. Every event names its run, so that streams can be merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run was opened. Always the first.
    RunStarted {
        /// The run.
        run_id: RunId,
        /// When it was opened.
        created_at: Timestamp,
        /// The run that this one repeats.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rerun_of: Option<RunId>,
        /// The target asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target_id: Option<TargetId>,
        /// Its title.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target_description: Option<String>,
        /// The folder or repository that is tested.
        #[serde(default)]
        source_root: String,
        /// The target's path filters.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        filters: Vec<String>,
    },
    /// The tree is frozen.
    SnapshotTaken {
        /// The run.
        run_id: RunId,
        /// The folder of the frozen tree.
        snapshot_dir: String,
        /// Its content address.
        snapshot_digest: Digest,
        /// The commit at the source.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        git_head: Option<String>,
        /// Whether the snapshot differs from that commit.
        git_dirty: bool,
        /// The paths that changed against the base that the caller gave.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changed_files: Vec<String>,
        /// How many files it has.
        files: u64,
        /// How many of them had to be copied.
        files_copied: u64,
        /// How many bytes had to be copied.
        bytes_copied: u64,
        /// How long it took.
        duration_ms: u64,
    },
    /// The plan is on disk.
    Planned {
        /// The run.
        run_id: RunId,
        /// Relative to the run's folder.
        plan_path: String,
        /// The jobs, in the manifest's order.
        jobs: Vec<JobId>,
    },
    /// A prepare node ended.
    PrepareFinished {
        /// The run.
        run_id: RunId,
        /// How long it took.
        timing: PrepareTiming,
    },
    /// The record of the prepared outputs is on disk.
    PreparedOutputsWritten {
        /// The run.
        run_id: RunId,
        /// Relative to the run's folder.
        prepared_outputs_path: String,
    },
    /// An attempt at a job began.
    JobStarted {
        /// The run.
        run_id: RunId,
        /// The job as it stands.
        job: JobRecord,
    },
    /// A phase of a job's execution ended.
    PhaseFinished {
        /// The run.
        run_id: RunId,
        /// The job.
        job_id: JobId,
        /// The phase.
        phase: RemoteLinuxVmPhaseRecord,
    },
    /// An attempt failed by the machinery's fault, and another follows.
    AttemptFailed {
        /// The run.
        run_id: RunId,
        /// The job.
        job_id: JobId,
        /// The attempt.
        attempt: AttemptRecord,
        /// How long the next one waits.
        retry_in_ms: u64,
    },
    /// A job ended, or was skipped.
    JobFinished {
        /// The run.
        run_id: RunId,
        /// The job as it stands.
        job: JobRecord,
    },
    /// Somebody asked for the run to be stopped.
    CancelRequested {
        /// The run.
        run_id: RunId,
        /// When.
        at: Timestamp,
        /// By what: a signal, or `pikaci cancel`.
        reason: String,
    },
    /// Something that a person should know, and that decides nothing.
    Notice {
        /// The run.
        run_id: RunId,
        /// The text.
        message: String,
    },
    /// Cleaning up after a job failed. Its verdict stands. May come after `run_finished`.
    CleanupFailed {
        /// The run.
        run_id: RunId,
        /// The job.
        job_id: JobId,
        /// What went wrong.
        message: String,
    },
    /// The run ended. Holds the whole record; nothing but `cleanup_failed` comes after it.
    RunFinished {
        /// The record.
        run: RunRecord,
    },
    /// An event of a newer version.
    #[serde(other)]
    Unknown,
}

/// Why events do not make a record.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The first event is not `run_started` (or a later one names another run).
    #[error("the events do not begin with run_started")]
    NoStart,
}

/// Makes the record that these events amount to.
pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<RunRecord, FoldError> {
    let mut events = events.into_iter();
    let mut record = events.next().and_then(opened).ok_or(FoldError::NoStart)?;
    for event in events {
        apply(&mut record, event);
    }
    Ok(record)
}

/// The record that a `run_started` event begins; `None` for any other event.
pub fn opened(event: &Event) -> Option<RunRecord> {
    match event {
        Event::RunStarted {
            run_id,
            created_at,
            rerun_of,
            target_id,
            target_description,
            source_root,
            filters,
        } => Some(RunRecord {
            schema_version: SCHEMA_VERSION,
            run_id: run_id.clone(),
            status: RunStatus::Running,
            outcome: None,
            fault: None,
            rerun_of: rerun_of.clone(),
            target_id: target_id.clone(),
            target_description: target_description.clone(),
            source_root: source_root.clone(),
            snapshot_dir: String::new(),
            snapshot_digest: None,
            git_head: None,
            git_dirty: None,
            created_at: *created_at,
            finished_at: None,
            plan_path: None,
            prepared_outputs_path: None,
            changed_files: Vec::new(),
            filters: filters.clone(),
            message: None,
            prepare_timings: Vec::new(),
            jobs: Vec::new(),
        }),
        Event::RunFinished { run } => Some(run.clone()),
        _ => None,
    }
}

/// Changes the record as one more event says. Events of other runs change nothing.
pub fn apply(record: &mut RunRecord, event: &Event) {
    match event {
        Event::SnapshotTaken {
            snapshot_dir, snapshot_digest, git_head, git_dirty, changed_files, ..
        } => {
            record.snapshot_dir.clone_from(snapshot_dir);
            record.snapshot_digest = Some(snapshot_digest.clone());
            record.git_head.clone_from(git_head);
            record.git_dirty = Some(*git_dirty);
            record.changed_files.clone_from(changed_files);
        }
        Event::Planned { plan_path, .. } => record.plan_path = Some(plan_path.clone()),
        Event::PrepareFinished { timing, .. } => record.prepare_timings.push(timing.clone()),
        Event::PreparedOutputsWritten { prepared_outputs_path, .. } => {
            record.prepared_outputs_path = Some(prepared_outputs_path.clone());
        }
        Event::JobStarted { job, .. } | Event::JobFinished { job, .. } => {
            match record.jobs.iter_mut().find(|known| known.id == job.id) {
                Some(known) => known.clone_from(job),
                None => record.jobs.push(job.clone()),
            }
        }
        Event::PhaseFinished { job_id, phase, .. } => {
            if let Some(job) = record.jobs.iter_mut().find(|known| known.id == *job_id) {
                job.remote_linux_vm_execution.get_or_insert_default().phases.push(phase.clone());
            }
        }
        Event::AttemptFailed { job_id, attempt, .. } => {
            if let Some(job) = record.jobs.iter_mut().find(|known| known.id == *job_id) {
                job.attempts.push(attempt.clone());
            }
        }
        Event::RunFinished { run } => record.clone_from(run),
        Event::RunStarted { .. }
        | Event::CancelRequested { .. }
        | Event::Notice { .. }
        | Event::CleanupFailed { .. }
        | Event::Unknown => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(lines: &str) -> Vec<Event> {
        lines.lines().map(|line| serde_json::from_str(line.trim()).unwrap()).collect()
    }

    const STARTED: &str =
        r#"{"event":"run_started","run_id":"20260301T142233Z-7f3a9c10","created_at":"2026-03-01T14:22:33Z"}"#;

    #[test]
    fn events_of_a_newer_version_change_nothing() {
        let newer = r#"{"event":"moon_phase","run_id":"20260301T142233Z-7f3a9c10","phase":"full"}"#;
        let with = fold(&events(&format!("{STARTED}\n{newer}"))).unwrap();
        assert_eq!(with, fold(&events(STARTED)).unwrap());
        assert_eq!(with.status, RunStatus::Running);
    }

    #[test]
    fn a_job_that_starts_again_replaces_its_own_entry_and_no_other() {
        let job = |id: &str, status: &str| {
            format!(
                r#"{{"event":"job_started","run_id":"20260301T142233Z-7f3a9c10","job":{{"id":"{id}","status":"{status}","executor":"host_local","started_at":"2026-03-01T14:22:34Z"}}}}"#
            )
        };
        let lines = [STARTED.to_owned(), job("one", "running"), job("two", "running"), job("one", "passed")];
        let record = fold(&events(&lines.join("\n"))).unwrap();
        let jobs: Vec<String> = record.jobs.iter().map(|job| format!("{} {}", job.id, job.status)).collect();
        assert_eq!(jobs, ["one passed", "two running"]);
    }

    #[test]
    fn what_does_not_begin_with_its_start_is_no_run() {
        let late =
            r#"{"event":"planned","run_id":"20260301T142233Z-7f3a9c10","plan_path":"plan.json","jobs":[]}"#;
        assert!(matches!(fold(&events(late)), Err(FoldError::NoStart)));
        assert!(matches!(fold(&[]), Err(FoldError::NoStart)));
    }
}
