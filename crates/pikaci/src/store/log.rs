//! Logs: append-only bytes, read in part.
//!
//! Invariant: no function here reads more into memory than its caller's limit or [`LOG_INLINE_BYTES_MAX`].

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::layout::{ARTIFACTS, ATTEMPTS, HOST_LOG, JOBS, guest_log_path, host_log_path};
use super::{StateRoot, StoreError, load_run_record, open_in_run};
use crate::guest;
use crate::id::{JobId, RunId};
use crate::record::{JobRecord, JobStatus, LogKind, Logs, RunJobLogMetadata, RunLogsMetadata, RunRecord};

/// The most that [`load_logs`] reads of one log: its last 4 MiB. Longer logs are for [`read_log_range`].
pub const LOG_INLINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// One of a job's two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSide {
    /// What the executor did.
    Host,
    /// What the command printed.
    Guest,
}

/// A part of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// Where the bytes begin.
    pub offset: u64,
    /// The bytes; fewer than asked for at the end of the log.
    pub bytes: Vec<u8>,
    /// How long the log is now.
    pub total_bytes: u64,
}

/// Loads which logs a run has, of one job or of all.
pub fn load_logs_metadata(
    state: &StateRoot,
    run: &RunId,
    job: Option<&JobId>,
) -> Result<RunLogsMetadata, StoreError> {
    let record = load_run_record(state, run)?;
    if let Some(job) = job {
        find_job(&record, job)?;
    }
    let wanted = record.jobs.iter().filter(|known| job.is_none_or(|job| known.id == *job));
    let jobs = wanted.map(|known| log_metadata(state, run, known)).collect::<Result<_, _>>()?;
    Ok(RunLogsMetadata { run_id: run.clone(), status: record.status, jobs })
}

/// Loads a job's logs as text. Without a job: the first that did not pass, else the first.
///
/// A byte that is not UTF-8 is shown as U+FFFD. Of a log longer than [`LOG_INLINE_BYTES_MAX`] the end is returned, after
/// a line that says what was left out.
pub fn load_logs(
    state: &StateRoot,
    run: &RunId,
    job: Option<&JobId>,
    kind: LogKind,
) -> Result<Logs, StoreError> {
    let record = load_run_record(state, run)?;
    let job = match job {
        Some(job) => find_job(&record, job)?,
        None => default_job(&record).ok_or_else(|| StoreError::NoJobs { run: run.clone() })?,
    };
    let wants = |side: LogKind| kind == side || kind == LogKind::Both;
    Ok(Logs {
        host: if wants(LogKind::Host) { load_text(state, run, job, LogSide::Host)? } else { None },
        guest: if wants(LogKind::Guest) { load_text(state, run, job, LogSide::Guest)? } else { None },
    })
}

/// The job that is meant when a run's log is asked for without naming one.
pub fn default_job(record: &RunRecord) -> Option<&JobRecord> {
    let did_not_pass = |job: &&JobRecord| matches!(job.status, JobStatus::Failed | JobStatus::Unknown(_));
    record.jobs.iter().find(did_not_pass).or(record.jobs.first())
}

/// Opens a log of a job's latest attempt, or of an earlier one; `None` while it does not exist.
pub fn open_log(
    state: &StateRoot,
    run: &RunId,
    job: &JobId,
    side: LogSide,
    attempt: Option<u32>,
) -> Result<Option<File>, StoreError> {
    let path = match (attempt, side) {
        (None, LogSide::Host) => PathBuf::from(host_log_path(job)),
        (None, LogSide::Guest) => PathBuf::from(guest_log_path(job)),
        (Some(number), side) => {
            let folder = Path::new(JOBS).join(job).join(ATTEMPTS).join(number.to_string());
            match side {
                LogSide::Host => folder.join(HOST_LOG),
                LogSide::Guest => folder.join(ARTIFACTS).join(guest::LOG_NAME),
            }
        }
    };
    open_in_run(state, run, &path)
}

/// Reads part of a log of a job's latest attempt; `None` while there is no such log. An offset beyond the end reads
/// nothing.
pub fn read_log_range(
    state: &StateRoot,
    run: &RunId,
    job: &JobId,
    side: LogSide,
    offset: u64,
    bytes_max: u64,
) -> Result<Option<LogRange>, StoreError> {
    let Some(mut file) = open_log(state, run, job, side, None)? else { return Ok(None) };
    let range = read_range(&mut file, offset, bytes_max);
    range.map(Some).map_err(StoreError::io("read a log of", state.job_dir(run, job)))
}

fn read_range(file: &mut File, offset: u64, bytes_max: u64) -> std::io::Result<LogRange> {
    let total_bytes = file.metadata()?.len();
    let offset = offset.min(total_bytes);
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(LogRange { offset, bytes, total_bytes })
}

fn find_job<'a>(record: &'a RunRecord, job: &JobId) -> Result<&'a JobRecord, StoreError> {
    record
        .find_job(job)
        .ok_or_else(|| StoreError::JobMissing { run: record.run_id.clone(), job: job.clone() })
}

fn log_metadata(state: &StateRoot, run: &RunId, job: &JobRecord) -> Result<RunJobLogMetadata, StoreError> {
    let bytes = |side| -> Result<Option<u64>, StoreError> {
        let Some(file) = open_recorded_log(state, run, job, side)? else { return Ok(None) };
        let metadata =
            file.metadata().map_err(StoreError::io("look at a log of", state.job_dir(run, &job.id)))?;
        Ok(Some(metadata.len()))
    };
    let (host, guest) = (bytes(LogSide::Host)?, bytes(LogSide::Guest)?);
    Ok(RunJobLogMetadata {
        id: job.id.clone(),
        host_log_exists: host.is_some(),
        guest_log_exists: guest.is_some(),
        host_log_bytes: host.unwrap_or(0),
        guest_log_bytes: guest.unwrap_or(0),
    })
}

fn load_text(
    state: &StateRoot,
    run: &RunId,
    job: &JobRecord,
    side: LogSide,
) -> Result<Option<String>, StoreError> {
    let Some(mut file) = open_recorded_log(state, run, job, side)? else { return Ok(None) };
    let read = file
        .metadata()
        .map(|metadata| metadata.len().saturating_sub(LOG_INLINE_BYTES_MAX))
        .and_then(|skipped| read_range(&mut file, skipped, LOG_INLINE_BYTES_MAX));
    let range = read.map_err(StoreError::io("read a log of", state.job_dir(run, &job.id)))?;
    let text = String::from_utf8_lossy(&range.bytes);
    Ok(Some(match range.offset {
        0 => text.into_owned(),
        skipped => format!("[the first {skipped} bytes are left out here]\n{text}"),
    }))
}

/// Opens the log that a record names, if that lies within the run's folder, else the one at the usual place.
fn open_recorded_log(
    state: &StateRoot,
    run: &RunId,
    job: &JobRecord,
    side: LogSide,
) -> Result<Option<File>, StoreError> {
    let recorded = match side {
        LogSide::Host => &job.host_log_path,
        LogSide::Guest => &job.guest_log_path,
    };
    if let Some(relative) = path_within_run(run, Path::new(recorded))
        && let Some(file) = open_in_run(state, run, &relative)?
    {
        return Ok(Some(file));
    }
    open_log(state, run, &job.id, side, None)
}

/// What a recorded path means below the run's folder: the part after `runs/<run_id>/`, wherever the state root was when
/// it was written; a relative path as it is. `None` for anything else.
fn path_within_run(run: &RunId, recorded: &Path) -> Option<PathBuf> {
    let components: Vec<Component<'_>> = recorded.components().collect();
    let is_marker = |pair: &[Component<'_>]| {
        pair[0].as_os_str() == "runs" && pair[1].as_os_str() == std::ffi::OsStr::new(run.as_str())
    };
    let within = match components.windows(2).rposition(is_marker) {
        Some(position) => &components[position + 2..],
        None if recorded.is_relative() => &components[..],
        None => return None,
    };
    let is_plain = !within.is_empty() && within.iter().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| within.iter().collect())
}
