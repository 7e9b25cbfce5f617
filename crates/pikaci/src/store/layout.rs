//! Where things are below a state root. The only place that knows.

use std::path::{Path, PathBuf};

use crate::guest;
use crate::id::{Digest, JobId, RunId};

pub(super) const RUN: &str = "run.json";
pub(super) const EVENTS: &str = "events.jsonl";
pub(super) const PLAN: &str = "plan.json";
pub(super) const PREPARED_OUTPUTS: &str = "prepared-outputs.json";
pub(super) const LOCK: &str = "lock";
pub(super) const JOBS: &str = "jobs";
pub(super) const STATUS: &str = "status.json";
pub(super) const HOST_LOG: &str = "host.log";
pub(super) const ARTIFACTS: &str = "artifacts";
pub(super) const ATTEMPTS: &str = "attempts";

/// The folder that holds runs and snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRoot {
    path: PathBuf,
}

impl StateRoot {
    /// Names a state root. Nothing is made or checked: a reader may come before the first writer.
    pub fn new(path: impl Into<PathBuf>) -> StateRoot {
        StateRoot { path: path.into() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of all runs.
    pub fn runs_dir(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// The folder of one run.
    pub fn run_dir(&self, run: &RunId) -> PathBuf {
        self.runs_dir().join(run)
    }

    /// The folder of one job.
    pub fn job_dir(&self, run: &RunId, job: &JobId) -> PathBuf {
        self.run_dir(run).join(JOBS).join(job)
    }

    /// The folder that a job's latest attempt leaves its log, its result and its artifacts in.
    pub fn artifacts_dir(&self, run: &RunId, job: &JobId) -> PathBuf {
        self.job_dir(run, job).join(ARTIFACTS)
    }

    /// The executor's log of a job's latest attempt.
    pub fn host_log(&self, run: &RunId, job: &JobId) -> PathBuf {
        self.job_dir(run, job).join(HOST_LOG)
    }

    /// What a job's latest attempt printed.
    pub fn guest_log(&self, run: &RunId, job: &JobId) -> PathBuf {
        self.artifacts_dir(run, job).join(guest::LOG_NAME)
    }

    /// The folder of all snapshots.
    pub fn snapshots_dir(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The folder of all prepared outputs.
    pub fn prepared_dir(&self) -> PathBuf {
        self.path.join("prepared")
    }

    /// The folder of one snapshot.
    pub fn snapshot_dir(&self, digest: &Digest) -> PathBuf {
        self.snapshots_dir().join(digest)
    }
}

/// The executor's log, relative to the run's folder, as records name it.
pub fn host_log_path(job: &JobId) -> String {
    format!("{JOBS}/{job}/{HOST_LOG}")
}

/// What the command printed, relative to the run's folder, as records name it.
pub fn guest_log_path(job: &JobId) -> String {
    format!("{JOBS}/{job}/{ARTIFACTS}/{}", guest::LOG_NAME)
}
