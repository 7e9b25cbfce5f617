//! What is to be run, and the same again.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use pikaci::manifest::{PathFilter, Selection};
use pikaci::store::{load_plan, load_run_record};
use pikaci::{Digest, Event, JobId, JobSpec, JobStatus, RunId, StateRoot, StoreError, TargetId};

use super::Backoff;
use crate::prepared::NixConfig;
use crate::secrets::Secrets;
use crate::snapshot::{SnapshotRequest, Source};

const GIT_DEADLINE: Duration = Duration::from_secs(300);

/// What the jobs run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A tree that is frozen first.
    Source(Source),
    /// A tree that was frozen for an earlier run.
    Snapshot {
        /// Its address.
        digest: Digest,
        /// The commit that it was frozen at.
        git_head: Option<String>,
        /// Whether it differs from that commit.
        git_dirty: bool,
    },
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Where the records go.
    pub state: StateRoot,
    /// The run's name.
    pub run_id: RunId,
    /// What the jobs run on.
    pub input: Input,
    /// The folder or repository that is tested, for the record.
    pub source_root: PathBuf,
    /// The target, if the jobs are of one.
    pub target_id: Option<TargetId>,
    /// Its title.
    pub target_description: Option<String>,
    /// Its path filters; asked only when there is a base. `None`: every change concerns it.
    pub filters: Option<PathFilter>,
    /// The jobs, in the manifest's order.
    pub jobs: Vec<JobSpec>,
    /// Against whose merge base changes are listed.
    pub base: Option<String>,
    /// How many jobs run at once.
    pub slots: usize,
    /// The run that this one repeats.
    pub rerun_of: Option<RunId>,
    /// How long retries wait.
    pub backoff: Backoff,
    /// What Nix is told of the host, for outputs that it builds.
    pub nix: NixConfig,
    /// What jobs get that name it.
    pub secrets: Secrets,
    /// Names of secrets that an earlier process of the run was given, and that went with it.
    pub lost_secrets: Vec<String>,
}

impl RunRequest {
    /// What a manifest's selection asks for, on a source.
    pub fn new(state: StateRoot, run_id: RunId, source: Source, selection: &Selection<'_>) -> RunRequest {
        RunRequest {
            state,
            run_id,
            source_root: source.root().to_owned(),
            input: Input::Source(source),
            target_id: Some(selection.target.id.clone()),
            target_description: Some(selection.target.title.clone()),
            filters: selection.target.paths.clone(),
            jobs: selection.jobs.clone(),
            base: None,
            slots: 1,
            rerun_of: None,
            backoff: Backoff::default(),
            nix: NixConfig::default(),
            secrets: Secrets::default(),
            lost_secrets: Vec::new(),
        }
    }

    /// Finds one of these secrets that the run once had.
    pub(super) fn find_lost_secret(&self, names: &[String]) -> Option<String> {
        names.iter().find(|name| self.lost_secrets.contains(name)).cloned()
    }

    pub(crate) fn started(&self, now: Timestamp) -> Event {
        Event::RunStarted {
            run_id: self.run_id.clone(),
            created_at: now,
            rerun_of: self.rerun_of.clone(),
            target_id: self.target_id.clone(),
            target_description: self.target_description.clone(),
            source_root: self.source_root.to_string_lossy().into_owned(),
            filters: self.filters.as_ref().map(|filters| filters.patterns().to_vec()).unwrap_or_default(),
        }
    }

    pub(crate) fn snapshot_request(&self) -> SnapshotRequest {
        let source = match &self.input {
            Input::Source(source) => source.clone(),
            Input::Snapshot { .. } => Source::WorkingTree { root: self.source_root.clone() },
        };
        SnapshotRequest {
            source,
            snapshots_dir: self.state.snapshots_dir(),
            state_root: self.state.path().to_owned(),
            base: self.base.clone(),
            git_deadline: GIT_DEADLINE,
        }
    }

    /// Whether builds that failed before are to be tried again: somebody repeats a run, or names the build itself.
    pub(super) fn asks_for_builds(&self) -> bool {
        self.rerun_of.is_some() || self.jobs.iter().all(|job| job.output.is_some())
    }

    /// Whether the target is meant by these changes. Without a base, whatever a person names is run.
    pub(super) fn is_concerned(&self, changed_files: &[String]) -> bool {
        match (&self.base, &self.filters) {
            (Some(_), Some(filters)) => filters.matches(changed_files),
            _ => true,
        }
    }
}

/// Why a run can't be repeated.
#[derive(Debug, thiserror::Error)]
pub enum RerunError {
    /// It can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not over.
    #[error("run {run} is still running; `pikaci cancel {run}` stops it")]
    Running {
        /// The run.
        run: RunId,
    },
    /// It ended before it had a plan.
    #[error("run {run} ended before it knew its jobs; run the target anew")]
    NoPlan {
        /// The run.
        run: RunId,
    },
    /// Only what failed was asked for, and nothing did.
    #[error("every job of run {run} passed; without --failed all of them are run again")]
    NothingFailed {
        /// The run.
        run: RunId,
    },
}

/// Asks for an earlier run again: the same jobs on the same snapshot; with `only_failed`, those that did not pass. A job
/// that passed counts as passed for those that need it.
pub fn rerun(
    state: &StateRoot,
    earlier: &RunId,
    run_id: RunId,
    only_failed: bool,
) -> Result<RunRequest, RerunError> {
    let record = load_run_record(state, earlier)?;
    if record.status == pikaci::RunStatus::Running {
        return Err(RerunError::Running { run: earlier.clone() });
    }
    let no_plan = || RerunError::NoPlan { run: earlier.clone() };
    let plan = load_plan(state, earlier)?.ok_or_else(no_plan)?;
    let digest = record.snapshot_digest.clone().ok_or_else(no_plan)?;
    let passed: BTreeSet<&JobId> =
        record.jobs.iter().filter(|job| job.status == JobStatus::Passed).map(|job| &job.id).collect();
    let is_asked = |job: &JobSpec| !only_failed || !passed.contains(&job.id);
    let wanted = with_outputs(&plan.jobs, is_asked);
    let jobs: Vec<JobSpec> = plan.jobs.into_iter().filter(|job| wanted.contains(&job.id)).collect();
    if jobs.is_empty() {
        return Err(RerunError::NothingFailed { run: earlier.clone() });
    }
    let git_dirty = record.git_dirty.unwrap_or(true);
    Ok(RunRequest {
        state: state.clone(),
        run_id,
        input: Input::Snapshot { digest, git_head: record.git_head, git_dirty },
        source_root: PathBuf::from(record.source_root),
        target_id: record.target_id,
        target_description: record.target_description,
        filters: None,
        jobs,
        base: None,
        slots: 1,
        rerun_of: Some(earlier.clone()),
        backoff: Backoff::default(),
        nix: NixConfig::default(),
        secrets: Secrets::default(),
        lost_secrets: Vec::new(),
    })
}

/// The jobs that are asked for, and those that prepare their outputs: an output is there for the run that had it made.
fn with_outputs(jobs: &[JobSpec], is_asked: impl Fn(&JobSpec) -> bool) -> BTreeSet<JobId> {
    let mut wanted: BTreeSet<JobId> =
        jobs.iter().filter(|job| is_asked(job)).map(|job| job.id.clone()).collect();
    let mut open: Vec<&JobSpec> = jobs.iter().filter(|job| wanted.contains(&job.id)).collect();
    while let Some(job) = open.pop() {
        let is_maker = |maker: &&JobSpec| {
            maker.output.as_ref().is_some_and(|output| job.prepared.contains(&output.name))
        };
        for maker in jobs.iter().filter(is_maker) {
            if wanted.insert(maker.id.clone()) {
                open.push(maker);
            }
        }
    }
    wanted
}

/// Makes the state root, with a `.gitignore` of its own: it may lie within the tested tree.
pub(super) fn prepare_state_root(state: &StateRoot) -> Result<(), StoreError> {
    let ignore = state.path().join(".gitignore");
    let made = fs::create_dir_all(state.path())
        .and_then(|()| if ignore.exists() { Ok(()) } else { fs::write(&ignore, "*\n") });
    made.map_err(|source| StoreError::Io {
        action: "make the state root",
        path: state.path().to_owned(),
        source,
    })
}
