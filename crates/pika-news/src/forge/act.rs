//! What a person does to a branch or a lane: rerun, cancel, close.

use pika_git::BranchName;
use pikaci::{JobStatus, RunId, StateRoot};

use super::error::parse_oid;
use super::id::{BranchId, LaneRunId};
use super::state::{BranchState, LaneRunStatus};
use super::view::Change;
use super::{Forge, ForgeError};
use crate::store::{CancelEffect, NewAttempt};

/// What of a lane run is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RerunScope {
    /// Every job.
    All,
    /// The jobs that did not pass, and what needs them.
    Failed,
}

/// Whether the jobs of an earlier run are known, and the tree that they ran on is still there: retention removes trees, and a
/// backup leaves them out.
pub(crate) fn is_repeatable(state: &StateRoot, run: &RunId) -> bool {
    let Ok(record) = pikaci::load_run_record(state, run) else { return false };
    let tree = record.snapshot_digest.map(|digest| state.snapshot_dir(&digest));
    !record.jobs.is_empty() && tree.is_some_and(|tree| tree.is_dir())
}

impl Forge {
    /// Queues a further attempt at the lane of a lane run, and returns it. The earlier attempts stay as they are.
    pub async fn rerun(
        &self,
        repository: &str,
        id: LaneRunId,
        scope: RerunScope,
        actor: &str,
    ) -> Result<LaneRunId, ForgeError> {
        let hosted = self.hosted(repository)?;
        let (lane, attempts, branch) = self.lane_of(&hosted, id).await?;
        let repeated = attempts.iter().find(|attempt| attempt.id == id);
        let run = repeated.and_then(|attempt| attempt.run_id.clone());
        // One that can't be repeated is no obstacle: the target is run afresh.
        let rerun_of = run.filter(|run| is_repeatable(&hosted.state_root, run));
        if scope == RerunScope::Failed {
            let run = rerun_of.as_ref().ok_or_else(|| {
                ForgeError::refused(
                    "this run has left no jobs that could be repeated, or the tree that they ran on is gone; rerun the whole lane",
                )
            })?;
            let record = pikaci::load_run_record(&hosted.state_root, run);
            if record.is_ok_and(|record| record.jobs.iter().all(|job| job.status == JobStatus::Passed)) {
                return Err(ForgeError::refused("every job of this run passed; rerun the whole lane"));
            }
        }
        let new = NewAttempt {
            lane_id: lane.id,
            requested_by: actor.to_owned(),
            rerun_of,
            is_failed_only: scope == RerunScope::Failed,
            now_ms: self.now_ms(),
        };
        let Some(next) = self.store().add_attempt(new).await? else {
            return Err(ForgeError::refused(
                "the lane's latest attempt is not finished; cancel it or wait for it",
            ));
        };
        self.ci().wake();
        let repository = repository.to_owned();
        self.announce(Change { repository, branch_id: branch, lane_run_id: Some(next) });
        Ok(next)
    }

    /// Stops a lane run: at once when it waits, within five seconds when it runs.
    pub async fn cancel(&self, repository: &str, id: LaneRunId, actor: &str) -> Result<(), ForgeError> {
        let hosted = self.hosted(repository)?;
        let (_, _, branch) = self.lane_of(&hosted, id).await?;
        let message = format!("cancelled by {actor}");
        match self.store().request_cancel(id, &message, self.now_ms()).await? {
            CancelEffect::WasQueued => {}
            CancelEffect::Running => self.ci().cancel(id),
            CancelEffect::AlreadyFinished => return Err(ForgeError::refused("it is finished already")),
        }
        let repository = repository.to_owned();
        self.announce(Change { repository, branch_id: branch, lane_run_id: Some(id) });
        Ok(())
    }

    /// Closes a branch without merging it, if it is still at `expected_head`, and stops its lanes. A push opens it
    /// again.
    pub async fn close(
        &self,
        repository: &str,
        id: BranchId,
        expected_head: &str,
        actor: &str,
    ) -> Result<(), ForgeError> {
        let hosted = self.hosted(repository)?;
        let expected = parse_oid(expected_head)?;
        let _refs = hosted.live.refs.lock().await;
        let branch = self.branch_record(&hosted, id).await?;
        if hosted.is_default(&branch.name) {
            return Err(ForgeError::refused("the default branch can't be closed"));
        }
        if branch.state != BranchState::Open {
            return Err(ForgeError::refused(format!("the branch is {} already", branch.state)));
        }
        let name = BranchName::parse(&branch.name).map_err(|_| ForgeError::not_found("such branch"))?;
        self.check_head(&hosted, &branch, &name, &expected).await?;
        let Some(running) = self.store().close_branch_at(id, expected.as_str(), self.now_ms()).await? else {
            return Err(ForgeError::refused("the branch has just changed; look at it again"));
        };
        tracing::info!(repository, branch = branch.name, actor, "closed");
        for lane_run in running {
            self.ci().cancel(lane_run);
        }
        self.tutorials().wake_for(id, None);
        self.announce(Change { repository: repository.to_owned(), branch_id: id, lane_run_id: None });
        Ok(())
    }

    /// Opens a closed branch again at the head that the caller saw. Lanes that its closing stopped are rerun by who wants them.
    pub async fn reopen(
        &self,
        repository: &str,
        id: BranchId,
        expected_head: &str,
        actor: &str,
    ) -> Result<(), ForgeError> {
        let hosted = self.hosted(repository)?;
        let expected = parse_oid(expected_head)?;
        let _refs = hosted.live.refs.lock().await;
        let branch = self.branch_record(&hosted, id).await?;
        if branch.state != BranchState::Closed {
            return Err(ForgeError::refused(format!("the branch is {}, not closed", branch.state)));
        }
        let name = BranchName::parse(&branch.name).map_err(|_| ForgeError::not_found("such branch"))?;
        self.check_head(&hosted, &branch, &name, &expected).await?;
        if !self.store().reopen_branch_at(id, expected.as_str(), self.now_ms()).await? {
            return Err(ForgeError::refused("the branch has just changed; look at it again"));
        }
        tracing::info!(repository, branch = branch.name, actor, "reopened");
        self.tutorials().wake_for(id, None);
        self.announce(Change { repository: repository.to_owned(), branch_id: id, lane_run_id: None });
        Ok(())
    }

    /// Whether a lane run is over.
    pub async fn is_finished(&self, id: LaneRunId) -> Result<bool, ForgeError> {
        let found = self.store().find_lane_of(id).await?;
        let attempts = found.map(|(_, attempts)| attempts).unwrap_or_default();
        Ok(attempts.iter().any(|attempt| attempt.id == id && attempt.status == LaneRunStatus::Finished))
    }
}
