//! Puts together what pages and API show.

use pika_git::{Commit, Diff, DiffLimits, Oid};
use pikaci::{RunId, StateRoot};

use super::error::parse_oid;
use super::id::{BranchId, LaneRunId};
use super::policy::{Candidate, merge_readiness};
use super::state::{Attempt, HeadState, LaneRunStatus, head_state, lane_state};
use super::view::{
    BranchFilter, BranchList, BranchRow, BranchView, HeadRow, HeadView, LaneBadge, LaneRunDetail,
    LaneRunView, LaneView, RepositoryRow, RepositoryView,
};
use super::{Forge, ForgeError, Hosted};
use crate::store::{BranchRecord, HeadRecord, LaneRecord, LaneRunRecord};

const EARLIER_HEADS_MAX: u32 = 20;

impl Forge {
    /// Lists the repositories.
    pub async fn repositories(&self) -> Result<Vec<RepositoryRow>, ForgeError> {
        let mut rows = Vec::new();
        for name in self.repository_names() {
            rows.push(self.repository_row(&name).await?);
        }
        Ok(rows)
    }

    /// Shows a repository as a list has it.
    pub async fn repository_row(&self, name: &str) -> Result<RepositoryRow, ForgeError> {
        let hosted = self.hosted(name)?;
        let default_branch = hosted.default_branch.as_str();
        let (counts, updated_at_ms) = self.store().count_branches(hosted.id, default_branch).await?;
        let default_branch_state = match self.store().find_branch_named(hosted.id, default_branch).await? {
            Some(branch) => Some(self.head_view(branch.head_id).await?.state),
            None => None,
        };
        Ok(RepositoryRow {
            name: name.to_owned(),
            default_branch: default_branch.to_owned(),
            open_branches: counts.open,
            default_branch_state,
            updated_at_ms,
        })
    }

    /// Where the head of a branch stands, of the default branch without a name; `None` when there is no such branch.
    pub async fn state_of_branch(
        &self,
        repository: &str,
        branch: Option<&str>,
    ) -> Result<Option<HeadState>, ForgeError> {
        let hosted = self.hosted(repository)?;
        let name = branch.unwrap_or(hosted.default_branch.as_str());
        match self.store().find_branch_named(hosted.id, name).await? {
            Some(branch) => Ok(Some(self.head_view(branch.head_id).await?.state)),
            None => Ok(None),
        }
    }

    /// Shows a repository.
    pub async fn repository(&self, name: &str) -> Result<RepositoryView, ForgeError> {
        let hosted = self.hosted(name)?;
        let default_branch = hosted.default_branch.as_str().to_owned();
        let (counts, updated_at_ms) = self.store().count_branches(hosted.id, &default_branch).await?;
        Ok(RepositoryView {
            name: name.to_owned(),
            default_branch,
            is_empty: updated_at_ms.is_none(),
            clone_path: format!("/news/git/{name}.git"),
            counts,
            problem: hosted.find_problem(),
        })
    }

    /// Lists branches of a repository.
    pub async fn branches(
        &self,
        repository: &str,
        mut filter: BranchFilter,
    ) -> Result<BranchList, ForgeError> {
        let hosted = self.hosted(repository)?;
        let limit = filter.limit;
        filter.limit = limit.saturating_add(1);
        let mut branches =
            self.store().list_branches(hosted.id, hosted.default_branch.as_str(), filter).await?;
        let has_more = branches.len() > limit as usize;
        branches.truncate(limit as usize);
        let mut rows = Vec::with_capacity(branches.len());
        for (branch, (record, lanes)) in branches {
            rows.push(branch_row(&hosted, &branch, &head_view(record, lanes)));
        }
        Ok(BranchList { rows, has_more })
    }

    /// Finds a branch by its name.
    pub async fn branch_named(&self, repository: &str, name: &str) -> Result<Option<BranchRow>, ForgeError> {
        let hosted = self.hosted(repository)?;
        let Some(branch) = self.store().find_branch_named(hosted.id, name).await? else { return Ok(None) };
        let head = self.head_view(branch.head_id).await?;
        Ok(Some(branch_row(&hosted, &branch, &head)))
    }

    /// Shows a branch.
    pub async fn branch(&self, repository: &str, id: BranchId) -> Result<BranchView, ForgeError> {
        let hosted = self.hosted(repository)?;
        let branch = self.branch_record(&hosted, id).await?;
        let mut view = self.branch_view(&hosted, branch).await?;
        self.inner.conflicts.consider(&hosted, &mut view).await?;
        Ok(view)
    }

    /// Finds the name of the repository of a branch.
    pub async fn repository_of_branch(&self, id: BranchId) -> Result<String, ForgeError> {
        let branch = self.store().find_branch(id).await?;
        let hosted = branch.and_then(|branch| self.hosted_by_id(branch.repository_id));
        hosted.map(|hosted| hosted.config.name.clone()).ok_or_else(|| no_branch(id))
    }

    /// Shows an attempt at a lane.
    pub async fn lane_run(&self, repository: &str, id: LaneRunId) -> Result<LaneRunDetail, ForgeError> {
        let hosted = self.hosted(repository)?;
        let (lane, attempts, branch_id) = self.lane_of(&hosted, id).await?;
        let branch = self.branch_record(&hosted, branch_id).await?;
        let (head, _) = self.store().read_head(lane.head_id).await?;
        let is_current_head = branch.head_id == lane.head_id;
        let lane = lane_view(lane, attempts);
        let run = lane.attempts.iter().find(|run| run.id == id).cloned();
        Ok(LaneRunDetail {
            repository: repository.to_owned(),
            branch_id,
            branch_name: branch.name,
            head_oid: head.oid,
            is_current_head,
            run: run.ok_or_else(|| no_lane_run(id))?,
            lane,
        })
    }

    /// Finds the repository and the state root of a run of `pikaci`. Runs that no lane has named are found too.
    pub async fn locate_run(&self, run: &RunId) -> Result<Option<(String, StateRoot)>, ForgeError> {
        let named = self.store().find_repository_of_run(run).await?;
        let hosted = named
            .and_then(|id| self.hosted_by_id(id))
            .or_else(|| self.all_hosted().into_iter().find(|hosted| hosted.state_root.run_dir(run).is_dir()));
        Ok(hosted.map(|hosted| (hosted.config.name.clone(), hosted.state_root.clone())))
    }

    /// The changes of a head against its base.
    pub async fn diff(
        &self,
        repository: &str,
        head: &HeadView,
        limits: DiffLimits,
    ) -> Result<Diff, ForgeError> {
        let (base, oid) = range(head)?;
        Ok(self.hosted(repository)?.git.diff(base.as_ref(), &oid, limits).await?)
    }

    /// The commits of a head that its base has not, the newest first.
    pub async fn commits(
        &self,
        repository: &str,
        head: &HeadView,
        limit: usize,
    ) -> Result<Vec<Commit>, ForgeError> {
        let (base, oid) = range(head)?;
        let hosted = self.hosted(repository)?;
        Ok(self.inner.commits.list(&hosted.git, base, oid, limit).await?.to_vec())
    }

    pub(super) async fn branch_record(
        &self,
        hosted: &Hosted,
        id: BranchId,
    ) -> Result<BranchRecord, ForgeError> {
        let found = self.store().find_branch(id).await?;
        found.filter(|branch| branch.repository_id == hosted.id).ok_or_else(|| no_branch(id))
    }

    pub(super) async fn lane_of(
        &self,
        hosted: &Hosted,
        id: LaneRunId,
    ) -> Result<(LaneRecord, Vec<LaneRunRecord>, BranchId), ForgeError> {
        let (lane, attempts) = self.store().find_lane_of(id).await?.ok_or_else(|| no_lane_run(id))?;
        match self.store().find_place(lane.head_id).await? {
            Some((branch, repository)) if repository == hosted.id => Ok((lane, attempts, branch)),
            _ => Err(no_lane_run(id)),
        }
    }

    pub(super) async fn branch_view(
        &self,
        hosted: &Hosted,
        branch: BranchRecord,
    ) -> Result<BranchView, ForgeError> {
        let head = self.head_view(branch.head_id).await?;
        let row = branch_row(hosted, &branch, &head);
        let merge = merge_readiness(&Candidate {
            is_default: row.is_default,
            branch: branch.state,
            is_orphan: head.is_orphan,
            head: head.state,
            lanes: &head.lanes,
            merge_without_manifest: hosted.config.merge_without_manifest,
        });
        let mut earlier_heads = Vec::new();
        for (earlier, lanes) in self.store().list_heads(branch.id, EARLIER_HEADS_MAX + 1).await? {
            if earlier.id != branch.head_id {
                let HeadView { oid, subject, pushed_at_ms, state, .. } = head_view(earlier, lanes);
                earlier_heads.push(HeadRow { oid, subject, state, pushed_at_ms });
            }
        }
        let merge_target = hosted.default_branch.as_str().to_owned();
        Ok(BranchView { row, merge_target, head, earlier_heads, merge, merge_oid: branch.merge_oid })
    }

    async fn head_view(&self, head: super::id::HeadId) -> Result<HeadView, ForgeError> {
        let (record, lanes) = self.store().read_head(head).await?;
        Ok(head_view(record, lanes))
    }
}

fn range(head: &HeadView) -> Result<(Option<Oid>, Oid), ForgeError> {
    let base = head.base_oid.as_deref().map(parse_oid).transpose()?;
    Ok((base, parse_oid(&head.oid)?))
}

fn no_branch(id: BranchId) -> ForgeError {
    ForgeError::not_found(format!("branch {id}"))
}

fn no_lane_run(id: LaneRunId) -> ForgeError {
    ForgeError::not_found(format!("lane run {id}"))
}

pub(super) fn head_view(record: HeadRecord, lanes: Vec<(LaneRecord, Vec<LaneRunRecord>)>) -> HeadView {
    let lanes: Vec<LaneView> = lanes.into_iter().map(|(lane, attempts)| lane_view(lane, attempts)).collect();
    let required = lanes.iter().filter(|lane| lane.is_required).map(|lane| lane.state);
    HeadView {
        state: head_state(&record.selection, required),
        subject: record.subject,
        author: record.author,
        oid: record.oid,
        base_oid: record.base_oid,
        is_orphan: record.is_orphan,
        selection: record.selection,
        lanes,
        pushed_at_ms: record.pushed_at_ms,
        pushed_by: record.pushed_by,
    }
}

pub(super) fn branch_row(hosted: &Hosted, branch: &BranchRecord, head: &HeadView) -> BranchRow {
    let badge = |lane: &LaneView| LaneBadge {
        target: lane.target.clone(),
        title: lane.title.clone(),
        is_required: lane.is_required,
        state: lane.state,
        lane_run: lane.attempts.first().map(|run| run.id),
    };
    BranchRow {
        id: branch.id,
        repository: hosted.config.name.clone(),
        name: branch.name.clone(),
        is_default: hosted.is_default(&branch.name),
        state: branch.state,
        head_oid: head.oid.clone(),
        subject: head.subject.clone(),
        author: head.author.clone(),
        head_state: head.state,
        lanes: head.lanes.iter().map(badge).collect(),
        updated_at_ms: branch.updated_at_ms,
    }
}

/// Shows a lane; its attempts come the latest first.
pub(super) fn lane_view(lane: LaneRecord, attempts: Vec<LaneRunRecord>) -> LaneView {
    let latest = attempts.first();
    let judged = latest.map(|run| Attempt {
        status: run.status,
        outcome: run.outcome.clone(),
        fault: run.fault.clone(),
    });
    let state = lane_state(lane.kind, judged.as_ref());
    let reason = match latest {
        Some(run) if run.status == LaneRunStatus::Queued => run.waits.clone(),
        Some(run) => run.message.clone(),
        None => lane.reason,
    };
    LaneView {
        id: lane.id,
        target: lane.target,
        title: lane.title,
        is_required: lane.is_required,
        state,
        reason,
        attempts: attempts.into_iter().map(lane_run_view).collect(),
    }
}

pub(super) fn lane_run_view(run: LaneRunRecord) -> LaneRunView {
    LaneRunView {
        id: run.id,
        attempt: run.attempt,
        status: run.status,
        outcome: run.outcome,
        fault: run.fault,
        message: run.message,
        waits: run.waits,
        run_id: run.run_id,
        cause: run.cause,
        requested_by: run.requested_by,
        is_cancel_requested: run.is_cancel_requested,
        queued_at_ms: run.queued_at_ms,
        started_at_ms: run.started_at_ms,
        finished_at_ms: run.finished_at_ms,
    }
}
