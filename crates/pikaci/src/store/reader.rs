//! Reads runs, by anybody, at any time, beside their writer.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::layout::{EVENTS, PLAN, PREPARED_OUTPUTS, RUN};
use super::{StateRoot, StoreError, confined, events, is_locked, load_logs_metadata};
use crate::event;
use crate::id::RunId;
use crate::record::{
    Fault, JobStatus, Outcome, PlanRecord, PreparedOutputsRecord, RunLogsMetadata, RunRecord, RunStatus,
    SCHEMA_VERSION,
};

const RECORD_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What a page about a run needs, read in one go.
#[derive(Clone, Debug, PartialEq)]
pub struct RunBundle {
    /// The run.
    pub record: RunRecord,
    /// Which logs it has.
    pub logs: RunLogsMetadata,
    /// What was prepared for it; best effort: `None` when it cannot be read.
    pub prepared_outputs: Option<PreparedOutputsRecord>,
}

/// Loads a run's record as a reader should see it.
///
/// A record that says "running" while nobody holds the run's lock is shown as what it is: failed, by the machinery's
/// fault, interrupted. `pikaci sweep` writes that down.
pub fn load_run_record(state: &StateRoot, run: &RunId) -> Result<RunRecord, StoreError> {
    let mut record = load_stored_run_record(state, run)?;
    if record.status == RunStatus::Running && !is_locked(state, run)? {
        // The writer may have finished between the two looks.
        record = load_stored_run_record(state, run)?;
        if record.status == RunStatus::Running {
            mark_interrupted(&mut record);
        }
    }
    Ok(record)
}

/// Loads a run's record as it is stored, folding the events when `run.json` cannot be read.
pub fn load_stored_run_record(state: &StateRoot, run: &RunId) -> Result<RunRecord, StoreError> {
    let stored: Result<Option<RunRecord>, StoreError> = read_json(state, run, RUN);
    let record = match stored {
        Ok(Some(record)) => record,
        Ok(None) => match fold_events(state, run)? {
            Some(record) => record,
            None => return Err(StoreError::RunMissing { run: run.clone() }),
        },
        Err(error) => match fold_events(state, run) {
            Ok(Some(record)) => record,
            Ok(None) | Err(_) => return Err(error),
        },
    };
    if record.run_id != *run {
        let reason = format!("it names run {}", record.run_id);
        return Err(StoreError::Malformed { run: run.clone(), file: RUN, reason });
    }
    if record.schema_version > SCHEMA_VERSION {
        return Err(StoreError::TooNew {
            run: run.clone(),
            found: record.schema_version,
            supported: SCHEMA_VERSION,
        });
    }
    Ok(record)
}

/// Tells one state of a run's stored record from another: the writer replaces the file, it never changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunRecordVersion {
    device: u64,
    inode: u64,
    bytes: u64,
    changed_ns: i128,
}

/// Looks which state the stored record is in; `None` when there is none, or what is there is no file. One system call.
pub fn run_record_version(state: &StateRoot, run: &RunId) -> Option<RunRecordVersion> {
    let metadata = fs::symlink_metadata(state.run_dir(run).join(RUN)).ok().filter(fs::Metadata::is_file)?;
    Some(RunRecordVersion {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        changed_ns: i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec()),
    })
}

/// Loads what was prepared for a run; `None` when its record names none.
pub fn load_prepared_outputs_record(
    state: &StateRoot,
    run: &RunId,
) -> Result<Option<PreparedOutputsRecord>, StoreError> {
    if load_stored_run_record(state, run)?.prepared_outputs_path.is_none() {
        return Ok(None);
    }
    // Its place is fixed; what the record says about the path is not trusted.
    read_json(state, run, PREPARED_OUTPUTS)
}

/// Loads a run's plan; `None` while there is none.
pub fn load_plan(state: &StateRoot, run: &RunId) -> Result<Option<PlanRecord>, StoreError> {
    read_json(state, run, PLAN)
}

/// Loads record, logs' metadata and prepared outputs of a run.
pub fn load_run_bundle(state: &StateRoot, run: &RunId) -> Result<RunBundle, StoreError> {
    Ok(RunBundle {
        record: load_run_record(state, run)?,
        logs: load_logs_metadata(state, run, None)?,
        prepared_outputs: load_prepared_outputs_record(state, run).ok().flatten(),
    })
}

/// Lists the runs of a state root, newest first. A state root that does not exist yet has none.
pub fn list_runs(state: &StateRoot) -> Result<Vec<RunId>, StoreError> {
    let folder = state.runs_dir();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StoreError::Io { action: "list", path: folder, source }),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut runs: Vec<RunId> = names.filter_map(|name| RunId::parse(&name).ok()).collect();
    runs.sort_unstable_by(|one, other| other.cmp(one));
    Ok(runs)
}

/// Lists the runs with their records, newest first. A run that cannot be read is an item of its own, not the end.
pub fn list_run_records(
    state: &StateRoot,
) -> Result<impl Iterator<Item = (RunId, Result<RunRecord, StoreError>)>, StoreError> {
    let state = state.clone();
    Ok(list_runs(&state)?.into_iter().map(move |run| {
        let record = load_run_record(&state, &run);
        (run, record)
    }))
}

/// Opens a regular file of a run by its path relative to the run's folder; `None` when it is not there, is no regular
/// file, or would be reached through a link or `..`.
pub fn open_in_run(state: &StateRoot, run: &RunId, relative: &Path) -> Result<Option<File>, StoreError> {
    let folder = state.run_dir(run);
    confined::open(&folder, relative).map_err(StoreError::io("open a file of", folder))
}

/// Opens a regular file below a folder that the caller trusts, by the same rules as [`open_in_run`].
pub fn open_in_run_beneath(folder: &Path, relative: &Path) -> io::Result<Option<File>> {
    confined::open(folder, relative)
}

fn read_json<T: DeserializeOwned>(
    state: &StateRoot,
    run: &RunId,
    name: &'static str,
) -> Result<Option<T>, StoreError> {
    let Some(file) = open_in_run(state, run, Path::new(name))? else { return Ok(None) };
    let mut content = Vec::new();
    let read = file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut content);
    read.map_err(StoreError::io("read", state.run_dir(run).join(name)))?;
    if content.len() as u64 > RECORD_BYTES_MAX {
        let reason = format!("it is larger than {RECORD_BYTES_MAX} bytes");
        return Err(StoreError::Malformed { run: run.clone(), file: name, reason });
    }
    let parsed = serde_json::from_slice(&content);
    parsed.map(Some).map_err(|error| StoreError::Malformed {
        run: run.clone(),
        file: name,
        reason: error.to_string(),
    })
}

fn fold_events(state: &StateRoot, run: &RunId) -> Result<Option<RunRecord>, StoreError> {
    let Some(file) = open_in_run(state, run, Path::new(EVENTS))? else { return Ok(None) };
    let read = events::read(file).map_err(|error| StoreError::Malformed {
        run: run.clone(),
        file: EVENTS,
        reason: error.to_string(),
    })?;
    event::fold(&read.events).map(Some).map_err(|source| StoreError::Fold { run: run.clone(), source })
}

fn mark_interrupted(record: &mut RunRecord) {
    record.status = RunStatus::Failed;
    record.outcome = Some(Outcome::Failed);
    record.fault = Some(Fault::Infra);
    record.message = Some("interrupted: the pikaci that ran it is gone".to_owned());
    for job in &mut record.jobs {
        if job.status == JobStatus::Running {
            job.status = JobStatus::Failed;
            job.outcome = Some(Outcome::Failed);
            job.fault = Some(Fault::Infra);
            job.message = Some("interrupted: the pikaci that ran it is gone".to_owned());
        }
    }
}
