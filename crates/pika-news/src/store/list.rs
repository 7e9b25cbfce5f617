//! Lists that are read in parts: each part begins after the last row of the one before, and follows an index however far it is
//! from the start.

use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use super::head::{HeadWithLanes, head_with_lanes, list_attempts, with_lanes};
use super::lane_run::UNFINISHED;
use super::record::{self, BRANCH_COLUMNS, HEAD_COLUMNS, LANE_COLUMNS, LANE_RUN_COLUMNS};
use super::{BranchRecord, LaneRecord, LaneRunRecord, Store, StoreError};
use crate::forge::id::{BranchId, HeadId, LaneId, LaneRunId, RepositoryId};
use crate::forge::state::BranchState;

/// An attempt at a lane, with what it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedLaneRun {
    /// The attempt.
    pub run: LaneRunRecord,
    /// The lane's target.
    pub target: String,
    /// The head.
    pub head_id: HeadId,
    /// Its commit.
    pub head_oid: String,
    /// The branch.
    pub branch_id: BranchId,
    /// That branch's name.
    pub branch: String,
    /// The repository.
    pub repository_id: RepositoryId,
}

fn placed(row: &Row<'_>) -> rusqlite::Result<PlacedLaneRun> {
    Ok(PlacedLaneRun {
        run: record::lane_run(row)?,
        target: row.get("target")?,
        head_id: row.get("head_id")?,
        head_oid: row.get("oid")?,
        branch_id: row.get("branch_id")?,
        branch: row.get("branch")?,
        repository_id: row.get("repository_id")?,
    })
}

/// Which attempts are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneRunsOf {
    /// Those of a branch, the latest first.
    Branch(BranchId),
    /// Those of a repository, the latest first.
    Repository(RepositoryId),
    /// Those of one lane, the latest first.
    Lane(LaneId),
    /// These.
    These(Vec<LaneRunId>),
    /// Those of these repositories that wait or run, the oldest first.
    Queue(Vec<RepositoryId>),
}

impl Store {
    /// Lists branches in a state, or all, the latest change first, after the place of one.
    pub async fn list_branches_after(
        &self,
        repository: RepositoryId,
        state: Option<BranchState>,
        after: Option<(i64, i64)>,
        limit: u32,
    ) -> Result<Vec<(BranchRecord, HeadWithLanes)>, StoreError> {
        self.read(move |transaction| {
            let (time, id) = after.unwrap_or((i64::MAX, i64::MAX));
            let states = if state.is_some() { "state = ?5" } else { "?5 IS NULL" };
            // The first condition alone would be enough; the second one is what the index can be searched by.
            let sql = format!(
                "SELECT {BRANCH_COLUMNS} FROM branch
                 WHERE repository_id = ?1 AND {states} AND head_id IS NOT NULL
                 AND (updated_at_ms, id) < (?2, ?3) AND updated_at_ms <= ?2
                 ORDER BY updated_at_ms DESC, id DESC LIMIT ?4"
            );
            let parameters = params![repository, time, id, limit, state];
            let branches = record::list(transaction, &sql, parameters, record::branch)?;
            let with_head = |branch: BranchRecord| {
                let head = head_with_lanes(transaction, branch.head_id)?;
                Ok((branch, head))
            };
            branches.into_iter().map(with_head).collect()
        })
        .await
    }

    /// Lists a branch's heads with their lanes, the latest first, after one.
    pub async fn list_heads_after(
        &self,
        branch: BranchId,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<HeadWithLanes>, StoreError> {
        self.read(move |transaction| {
            let sql = format!(
                "SELECT {HEAD_COLUMNS} FROM head WHERE branch_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"
            );
            let parameters = params![branch, after.unwrap_or(i64::MAX), limit];
            let heads = record::list(transaction, &sql, parameters, record::head)?;
            heads.into_iter().map(|head| with_lanes(transaction, head)).collect()
        })
        .await
    }

    /// Lists a head's lanes with their attempts, in the manifest's order, after one.
    pub async fn list_lanes_after(
        &self,
        head: HeadId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(LaneRecord, Vec<LaneRunRecord>)>, StoreError> {
        self.read(move |transaction| {
            let sql = format!(
                "SELECT {LANE_COLUMNS} FROM lane WHERE head_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
            );
            let lanes = record::list(transaction, &sql, params![head, after, limit], record::lane)?;
            let with_attempts = |lane: LaneRecord| {
                let attempts = list_attempts(transaction, lane.id)?;
                Ok((lane, attempts))
            };
            lanes.into_iter().map(with_attempts).collect()
        })
        .await
    }

    /// Finds a lane by its number, with its attempts.
    pub async fn find_lane(
        &self,
        lane: LaneId,
    ) -> Result<Option<(LaneRecord, Vec<LaneRunRecord>)>, StoreError> {
        self.read(move |transaction| {
            let sql = format!("SELECT {LANE_COLUMNS} FROM lane WHERE id = ?1");
            let Some(lane) = record::find(transaction, &sql, [lane], record::lane)? else { return Ok(None) };
            let attempts = list_attempts(transaction, lane.id)?;
            Ok(Some((lane, attempts)))
        })
        .await
    }

    /// Lists attempts, after one.
    pub async fn list_lane_runs(
        &self,
        of: LaneRunsOf,
        after: Option<LaneRunId>,
        limit: u32,
    ) -> Result<Vec<PlacedLaneRun>, StoreError> {
        self.read(move |transaction| {
            let columns: Vec<String> =
                LANE_RUN_COLUMNS.split(", ").map(|name| format!("lane_run.{name} AS {name}")).collect();
            // Where the tables stand is the order in which they are read.
            let (tables, place, after, order) = match &of {
                LaneRunsOf::Queue(repositories) => {
                    let ids: Vec<String> = repositories.iter().map(RepositoryId::to_string).collect();
                    let tables = "lane_run CROSS JOIN lane CROSS JOIN head CROSS JOIN branch";
                    let place = format!(
                        "{UNFINISHED} AND branch.repository_id IN ({}) AND +lane_run.id > ?1",
                        ids.join(",")
                    );
                    (tables, place, after.map_or(i64::MIN, |id| id.0), "+lane_run.id")
                }
                LaneRunsOf::These(runs) => {
                    let ids: Vec<String> = runs.iter().map(LaneRunId::to_string).collect();
                    let tables = "lane_run CROSS JOIN lane CROSS JOIN head CROSS JOIN branch";
                    let place = format!("lane_run.id IN ({}) AND lane_run.id > ?1", ids.join(","));
                    (tables, place, after.map_or(i64::MIN, |id| id.0), "lane_run.id")
                }
                LaneRunsOf::Lane(lane) => {
                    let tables = "lane CROSS JOIN lane_run CROSS JOIN head CROSS JOIN branch";
                    let place = format!("lane.id = {lane} AND +lane_run.id < ?1");
                    (tables, place, after.map_or(i64::MAX, |id| id.0), "+lane_run.id DESC")
                }
                LaneRunsOf::Branch(branch) => {
                    let tables = "branch CROSS JOIN head CROSS JOIN lane CROSS JOIN lane_run";
                    let place = format!("branch.id = {branch} AND +lane_run.id < ?1");
                    (tables, place, after.map_or(i64::MAX, |id| id.0), "+lane_run.id DESC")
                }
                LaneRunsOf::Repository(repository) => {
                    let tables = "lane_run CROSS JOIN lane CROSS JOIN head CROSS JOIN branch";
                    let place = format!("branch.repository_id = {repository} AND lane_run.id < ?1");
                    (tables, place, after.map_or(i64::MAX, |id| id.0), "lane_run.id DESC")
                }
            };
            let sql = format!(
                "SELECT {}, lane.target AS target, lane.head_id AS head_id, head.oid AS oid,
                        head.branch_id AS branch_id, branch.name AS branch, branch.repository_id AS repository_id
                 FROM {tables}
                 WHERE lane.id = lane_run.lane_id AND head.id = lane.head_id AND branch.id = head.branch_id
                 AND {place} ORDER BY {order} LIMIT ?2",
                columns.join(", ")
            );
            let parameters = [Value::from(after), Value::from(i64::from(limit))];
            record::list(transaction, &sql, params_from_iter(parameters), placed)
        })
        .await
    }
}
