//! `jobs/<job_id>/status.json`, and the same record within `run.json`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ExecutorKind, Fault, JobStatus, Outcome, RemoteLinuxVmExecutionRecord};
use crate::id::JobId;

/// One job of a run; its fields speak of the latest attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The job's name, and the name of its folder.
    pub id: JobId,
    /// What a person reads: the command, or a title.
    #[serde(default)]
    pub description: String,
    /// Where the job stands.
    #[serde(default)]
    pub status: JobStatus,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Whose fault it was; absent when nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What ran it.
    pub executor: ExecutorKind,
    /// The node of the plan that this job is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_node_id: Option<String>,
    /// The command's deadline, in seconds from its start.
    #[serde(default)]
    pub timeout_secs: u64,
    /// Relative to the run's folder.
    #[serde(default)]
    pub host_log_path: String,
    /// Relative to the run's folder.
    #[serde(default)]
    pub guest_log_path: String,
    /// When the latest attempt began, or the moment a skipped job was given up.
    pub started_at: Timestamp,
    /// When the latest attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The command's exit code; 128 plus the signal's number when a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What a reader should know beyond the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Milliseconds that the job waited for what it needs prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_execution_prepare_duration_ms: Option<u64>,
    /// Phases and image. The local executor records its phases here as well, with `backend` = `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_linux_vm_execution: Option<RemoteLinuxVmExecutionRecord>,
    /// Every finished attempt, oldest first, the latest included.
    #[serde(default)]
    pub attempts: Vec<AttemptRecord>,
}

/// One finished attempt at a job. Never changed once written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// From 1. An earlier attempt's files are in `attempts/<number>/`.
    pub number: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Whose fault it was; absent when nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The command's exit code, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What a reader should know beyond the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
