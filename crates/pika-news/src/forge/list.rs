//! Lists that are read in parts, for programs: each asks for what follows the last row that it has.

use super::id::{BranchId, HeadId, LaneId, LaneRunId};
use super::read::{branch_row, head_view, lane_run_view, lane_view};
use super::state::BranchState;
use super::view::{BranchRow, HeadSummary, LaneSummary, LaneView, PlacedLaneRunView};
use super::{Forge, ForgeError, Hosted};
use crate::store::{HeadRecord, LaneRunsOf, PlacedLaneRun};

impl Forge {
    /// Lists branches of a repository, the latest change first.
    pub async fn branches_after(
        &self,
        repository: &str,
        state: Option<BranchState>,
        after: Option<(i64, i64)>,
        limit: u32,
    ) -> Result<Vec<BranchRow>, ForgeError> {
        let hosted = self.hosted(repository)?;
        let found = self.store().list_branches_after(hosted.id, state, after, limit).await?;
        let row = |(branch, (record, lanes))| branch_row(&hosted, &branch, &head_view(record, lanes));
        Ok(found.into_iter().map(row).collect())
    }

    /// Lists the heads of a branch, the latest first.
    pub async fn heads_after(
        &self,
        repository: &str,
        branch: BranchId,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<HeadSummary>, ForgeError> {
        let hosted = self.hosted(repository)?;
        let branch = self.branch_record(&hosted, branch).await?;
        let found = self.store().list_heads_after(branch.id, after, limit).await?;
        let summary = |(record, lanes): (HeadRecord, Vec<_>)| {
            let (id, is_current) = (record.id, record.id == branch.head_id);
            summary(&hosted, id, branch.id, &branch.name, is_current, head_view(record, lanes))
        };
        Ok(found.into_iter().map(summary).collect())
    }

    /// Shows a head by its number, and whose it is.
    pub async fn head(&self, id: HeadId) -> Result<HeadSummary, ForgeError> {
        let missing = || ForgeError::not_found(format!("head {id}"));
        let (branch, repository) = self.store().find_place(id).await?.ok_or_else(missing)?;
        let hosted = self.hosted_by_id(repository).ok_or_else(missing)?;
        let branch = self.branch_record(&hosted, branch).await?;
        let (record, lanes) = self.store().read_head(id).await?;
        Ok(summary(&hosted, id, branch.id, &branch.name, branch.head_id == id, head_view(record, lanes)))
    }

    /// Lists the lanes of a head, in the manifest's order.
    pub async fn lanes_after(
        &self,
        head: HeadId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<LaneSummary>, ForgeError> {
        let found = self.store().list_lanes_after(head, after, limit).await?;
        Ok(found.into_iter().map(|(lane, runs)| lane_summary(head, lane_view(lane, runs))).collect())
    }

    /// Shows a lane by its number, and the head that it is of.
    pub async fn lane(&self, id: LaneId) -> Result<LaneSummary, ForgeError> {
        let missing = || ForgeError::not_found(format!("lane {id}"));
        let (lane, runs) = self.store().find_lane(id).await?.ok_or_else(missing)?;
        let head = lane.head_id;
        Ok(lane_summary(head, lane_view(lane, runs)))
    }

    /// Lists attempts at lanes of a repository, a branch or a lane, the latest first.
    pub async fn lane_runs_after(
        &self,
        of: RunsOf<'_>,
        after: Option<LaneRunId>,
        limit: u32,
    ) -> Result<Vec<PlacedLaneRunView>, ForgeError> {
        let of = match of {
            RunsOf::Repository(name) => LaneRunsOf::Repository(self.hosted(name)?.id),
            RunsOf::Branch(id) => LaneRunsOf::Branch(id),
            RunsOf::Lane(id) => LaneRunsOf::Lane(id),
            RunsOf::Queue(names) => {
                let of = self.all_hosted().into_iter().filter(|hosted| names.contains(&hosted.config.name));
                LaneRunsOf::Queue(of.map(|hosted| hosted.id).collect())
            }
        };
        let found = self.store().list_lane_runs(of, after, limit).await?;
        Ok(found.into_iter().filter_map(|run| self.placed(run)).collect())
    }

    /// `None`: its repository is no longer configured.
    pub(super) fn placed(&self, found: PlacedLaneRun) -> Option<PlacedLaneRunView> {
        let hosted = self.hosted_by_id(found.repository_id)?;
        Some(PlacedLaneRunView {
            repository: hosted.config.name.clone(),
            branch_id: found.branch_id,
            branch: found.branch,
            head_id: found.head_id,
            head_oid: found.head_oid,
            lane_id: found.run.lane_id,
            lane: found.target,
            run: lane_run_view(found.run),
        })
    }
}

/// Which attempts are listed.
#[derive(Clone, Copy, Debug)]
pub enum RunsOf<'a> {
    /// Those of a repository.
    Repository(&'a str),
    /// Those of a branch.
    Branch(BranchId),
    /// Those of a lane.
    Lane(LaneId),
    /// Those of these repositories that wait or run, the oldest first.
    Queue(&'a [String]),
}

fn summary(
    hosted: &Hosted,
    id: HeadId,
    branch_id: BranchId,
    branch: &str,
    is_current: bool,
    head: super::view::HeadView,
) -> HeadSummary {
    HeadSummary {
        id,
        repository: hosted.config.name.clone(),
        branch_id,
        branch: branch.to_owned(),
        is_current,
        oid: head.oid,
        subject: head.subject,
        author: head.author,
        base_oid: head.base_oid,
        is_orphan: head.is_orphan,
        selection: head.selection,
        state: head.state,
        pushed_at_ms: head.pushed_at_ms,
        pushed_by: head.pushed_by,
    }
}

fn lane_summary(head_id: HeadId, lane: LaneView) -> LaneSummary {
    LaneSummary {
        id: lane.id,
        head_id,
        target: lane.target,
        title: lane.title,
        is_required: lane.is_required,
        state: lane.state,
        reason: lane.reason,
        attempts: lane.attempts.len(),
        latest: lane.attempts.into_iter().next(),
    }
}
