//! The state root on disk: one writer a run, any number of readers, no path that leaves a run's folder.
//!
//! Invariants: a record is replaced, never rewritten, so that a reader sees the old one or the new one; only parsed ids
//! are joined to paths; no link is followed below a run's folder.

mod atomic;
mod confined;
mod events;
mod layout;
mod lock;
mod log;
mod reader;
mod writer;

use std::io;
use std::path::PathBuf;

pub use atomic::{Durability, replace};
pub use layout::{StateRoot, guest_log_path, host_log_path};
pub use lock::{LockHolder, find_lock_holder, is_locked};
pub use log::{
    LOG_INLINE_BYTES_MAX, LogRange, LogSide, default_job, load_logs, load_logs_metadata, open_log,
    read_log_range,
};
pub use reader::{
    RunBundle, RunRecordVersion, list_run_records, list_runs, load_plan, load_prepared_outputs_record,
    load_run_bundle, load_run_record, load_stored_run_record, open_in_run, open_in_run_beneath,
    run_record_version,
};
pub use writer::RunWriter;

use crate::event::FoldError;
use crate::id::{JobId, RunId};

/// Why the state root could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Callers show "not found"; it is not a fault.
    #[error("run {run} does not exist")]
    RunMissing {
        /// The run.
        run: RunId,
    },
    /// Callers show "not found"; it is not a fault.
    #[error("run {run} has no job {job}")]
    JobMissing {
        /// The run.
        run: RunId,
        /// The job.
        job: JobId,
    },
    /// The run was asked for its jobs' logs before it had any.
    #[error("run {run} has no job yet")]
    NoJobs {
        /// The run.
        run: RunId,
    },
    /// The name is taken.
    #[error("run {run} exists already")]
    RunExists {
        /// The run.
        run: RunId,
    },
    /// Another process writes this run.
    #[error("run {run} is being written by {holder}")]
    Locked {
        /// The run.
        run: RunId,
        /// Who holds the lock.
        holder: LockHolder,
    },
    /// Callers stop: reading on would lose fields when writing back.
    #[error("run {run} has format {found}; this pikaci reads up to {supported}, upgrade it")]
    TooNew {
        /// The run.
        run: RunId,
        /// Its format.
        found: u32,
        /// The newest format that can be read.
        supported: u32,
    },
    /// A file of the run is not what it should be.
    #[error("{file} of run {run} cannot be read: {reason}")]
    Malformed {
        /// The run.
        run: RunId,
        /// The file's name within the run's folder.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The events do not make a record.
    #[error("events.jsonl of run {run} cannot be folded")]
    Fold {
        /// The run.
        run: RunId,
        /// Why not.
        source: FoldError,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl StoreError {
    /// Whether the caller asked for something that is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            StoreError::RunMissing { .. } | StoreError::JobMissing { .. } | StoreError::NoJobs { .. }
        )
    }

    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |source| StoreError::Io { action, path, source }
    }
}

#[cfg(test)]
mod tests;
