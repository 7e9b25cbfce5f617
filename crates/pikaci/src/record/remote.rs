//! How a job's execution went, phase by phase.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The names of the phases.
pub mod phase {
    /// Folders of the job are made.
    pub const PREPARE_DIRECTORIES: &str = "prepare_directories";
    /// The snapshot is made available to the guest.
    pub const STAGE_WORKSPACE_SNAPSHOT: &str = "stage_workspace_snapshot";
    /// The guest is created and becomes ready.
    pub const PREPARE_RUNTIME: &str = "prepare_runtime";
    /// The guest runner is started.
    pub const LAUNCH_GUEST: &str = "launch_guest";
    /// The command runs.
    pub const WAIT_FOR_COMPLETION: &str = "wait_for_completion";
    /// Results and artifacts are taken in.
    pub const COLLECT_ARTIFACTS: &str = "collect_artifacts";
}

/// How one job's latest attempt was executed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteLinuxVmExecutionRecord {
    /// `incus`, or `local`.
    pub backend: String,
    /// The image that the instance was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incus_image: Option<RemoteLinuxVmImageRecord>,
    /// What the instance's disk is made by: `dir`, `btrfs` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_driver: Option<String>,
    /// The phases, in the order in which they ended.
    #[serde(default)]
    pub phases: Vec<RemoteLinuxVmPhaseRecord>,
}

/// The image that an instance was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteLinuxVmImageRecord {
    /// The Incus project.
    pub project: String,
    /// The alias that was asked for.
    pub alias: String,
    /// The fingerprint of the image *this instance* was made from.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// Why the fingerprint is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One phase of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteLinuxVmPhaseRecord {
    /// One of [`phase`], or a word of a newer version.
    pub phase: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Milliseconds between the two, by a clock that does not jump.
    pub duration_ms: u64,
    /// `ok`, or a short word for what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// Collects the phases of one execution. The clock is the caller's.
#[derive(Clone, Debug)]
pub struct RemoteLinuxVmPhaseRecorder {
    record: RemoteLinuxVmExecutionRecord,
}

impl RemoteLinuxVmPhaseRecorder {
    /// Starts with no phase, for the backend of that name.
    pub fn new(backend: &str) -> RemoteLinuxVmPhaseRecorder {
        let record = RemoteLinuxVmExecutionRecord { backend: backend.to_owned(), ..Default::default() };
        RemoteLinuxVmPhaseRecorder { record }
    }

    /// Adds a finished phase: when it began, and how long it took by a clock that does not jump.
    pub fn push(&mut self, phase: &str, started_at: Timestamp, took: Duration, outcome: Option<&str>) {
        self.record.phases.push(RemoteLinuxVmPhaseRecord {
            phase: phase.to_owned(),
            started_at,
            finished_at: started_at.checked_add(took).unwrap_or(started_at),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            outcome: outcome.map(str::to_owned),
        });
    }

    /// Notes the image that the instance was made from.
    pub fn set_incus_image(&mut self, image: RemoteLinuxVmImageRecord) {
        self.record.incus_image = Some(image);
    }

    /// Notes what the instance's disk is made by.
    pub fn set_storage_driver(&mut self, driver: Option<String>) {
        self.record.storage_driver = driver;
    }

    /// The record so far.
    pub fn record(&self) -> &RemoteLinuxVmExecutionRecord {
        &self.record
    }

    /// The finished record.
    pub fn finish(self) -> RemoteLinuxVmExecutionRecord {
        self.record
    }
}
