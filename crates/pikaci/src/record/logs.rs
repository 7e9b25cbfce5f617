//! What is said of logs without reading them, and what a reader gets.

use serde::{Deserialize, Serialize};

use super::RunStatus;
use crate::id::{JobId, RunId};

/// Which logs a run has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunLogsMetadata {
    /// The run.
    pub run_id: RunId,
    /// Where the run stands: a log of a finished run no longer grows.
    pub status: RunStatus,
    /// A line a job, in the record's order.
    pub jobs: Vec<RunJobLogMetadata>,
}

/// Which logs a job has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunJobLogMetadata {
    /// The job.
    pub id: JobId,
    /// Whether `host.log` is there.
    pub host_log_exists: bool,
    /// Whether `guest.log` is there.
    pub guest_log_exists: bool,
    /// Its size; 0 when it is not there.
    pub host_log_bytes: u64,
    /// Its size; 0 when it is not there.
    pub guest_log_bytes: u64,
}

/// The text of a job's logs. A side that was not asked for, or is not there, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// What the executor did.
    pub host: Option<String>,
    /// What the command printed.
    pub guest: Option<String>,
}

/// Which log is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// What the executor did.
    Host,
    /// What the command printed.
    Guest,
    /// Both of them.
    #[default]
    Both,
}
