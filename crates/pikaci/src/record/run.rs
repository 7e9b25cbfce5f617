//! `run.json` and `plan.json`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fault, JobRecord, Outcome, RunStatus};
use crate::id::{Digest, RunId, TargetId};
use crate::job::JobSpec;

/// One run, the fold of its `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// See [`super::SCHEMA_VERSION`].
    #[serde(default)]
    pub schema_version: u32,
    /// The run's name, and the name of its folder.
    pub run_id: RunId,
    /// Where the run stands.
    #[serde(default)]
    pub status: RunStatus,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Whose fault it was; absent when nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The run that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<RunId>,
    /// The target of the manifest that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_id: Option<TargetId>,
    /// That target's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_description: Option<String>,
    /// The folder or repository that was tested.
    #[serde(default)]
    pub source_root: String,
    /// The folder of the frozen tree; empty until it is taken.
    #[serde(default)]
    pub snapshot_dir: String,
    /// The content address of the frozen tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_digest: Option<Digest>,
    /// The commit checked out at the source, or the one that was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_head: Option<String>,
    /// Whether the snapshot differs from `git_head`'s tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_dirty: Option<bool>,
    /// When the run was opened.
    pub created_at: Timestamp,
    /// When the last event was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Where the plan is, relative to the run's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_path: Option<String>,
    /// Where the prepared outputs' record is, relative to the run's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_outputs_path: Option<String>,
    /// The paths that changed against the base that the caller gave; empty without one.
    #[serde(default)]
    pub changed_files: Vec<String>,
    /// The path filters of the target.
    #[serde(default)]
    pub filters: Vec<String>,
    /// What a reader should know beyond the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How long each prepare node took.
    #[serde(default)]
    pub prepare_timings: Vec<PrepareTiming>,
    /// The jobs that were started or skipped, in that order.
    #[serde(default)]
    pub jobs: Vec<JobRecord>,
}

impl RunRecord {
    /// Finds a job by its id.
    pub fn find_job(&self, job: &crate::id::JobId) -> Option<&JobRecord> {
        self.jobs.iter().find(|record| record.id == *job)
    }
}

/// How long one prepare node took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrepareTiming {
    /// The node, such as `prepared/linux-rust`.
    pub node_id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Milliseconds between the two, by a clock that does not jump.
    pub duration_ms: u64,
}

/// `plan.json`: what a run means to do, written before it does it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// See [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The run that the plan is for.
    pub run_id: RunId,
    /// The target, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_id: Option<TargetId>,
    /// The jobs, in the manifest's order.
    pub jobs: Vec<JobSpec>,
    /// Names of the secrets that the run was given. Never their content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}
