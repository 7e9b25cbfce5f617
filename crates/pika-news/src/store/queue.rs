//! Lane runs that wait and that run, as people and programs ask for them.
//!
//! Invariant: a page is found by its key; nothing is counted or skipped on the way.

use pikaci::RunId;
use rusqlite::{Row, params};

use super::record::{self, StoredRunId};
use super::{Store, StoreError};
use crate::forge::id::{BranchId, LaneRunId, RepositoryId};
use crate::forge::state::LaneRunStatus;

/// A lane run that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedLaneRun {
    /// The lane run; lower is older.
    pub id: LaneRunId,
    /// Its repository.
    pub repository_id: RepositoryId,
    /// Its branch.
    pub branch_id: BranchId,
    /// That branch's name.
    pub branch_name: String,
    /// The commit that it tests.
    pub head_oid: String,
    /// The target's id.
    pub target: String,
    /// The target's title.
    pub title: String,
    /// Whether a merge needs it.
    pub is_required: bool,
    /// From 1.
    pub attempt: u32,
    /// Waiting or claimed.
    pub status: LaneRunStatus,
    /// Why it waits.
    pub waits: Option<String>,
    /// The run of `pikaci`, once it is claimed.
    pub run_id: Option<RunId>,
    /// Since when it waits.
    pub queued_at_ms: i64,
    /// When it was claimed.
    pub started_at_ms: Option<i64>,
}

fn unfinished(row: &Row<'_>) -> rusqlite::Result<UnfinishedLaneRun> {
    let status: String = row.get("status")?;
    let is_queued = status == LaneRunStatus::Queued.as_str();
    Ok(UnfinishedLaneRun {
        id: row.get("id")?,
        repository_id: row.get("repository_id")?,
        branch_id: row.get("branch_id")?,
        branch_name: row.get("branch_name")?,
        head_oid: row.get("oid")?,
        target: row.get("target")?,
        title: row.get("title")?,
        is_required: row.get("is_required")?,
        attempt: row.get("attempt")?,
        status: if is_queued { LaneRunStatus::Queued } else { LaneRunStatus::Running },
        waits: row.get::<_, Option<String>>("waits")?.filter(|_| is_queued),
        run_id: row.get::<_, Option<StoredRunId>>("run_id")?.map(|stored| stored.0),
        queued_at_ms: row.get("queued_at_ms")?,
        started_at_ms: row.get("started_at_ms")?,
    })
}

impl Store {
    /// Lists at most `limit` of the lane runs of these repositories that are not finished, the oldest first.
    pub async fn list_unfinished(
        &self,
        repositories: Vec<RepositoryId>,
        after: LaneRunId,
        limit: u32,
    ) -> Result<Vec<UnfinishedLaneRun>, StoreError> {
        self.read(move |transaction| {
            let ids: Vec<String> = repositories.iter().map(|id| id.0.to_string()).collect();
            let sql = format!(
                "SELECT lane_run.id, branch.repository_id, head.branch_id, branch.name AS branch_name, head.oid,
                        lane.target, lane.title, lane.is_required, lane_run.attempt, lane_run.status,
                        lane_run.waits, lane_run.run_id, lane_run.queued_at_ms, lane_run.started_at_ms
                 FROM lane_run JOIN lane ON lane.id = lane_run.lane_id JOIN head ON head.id = lane.head_id
                 JOIN branch ON branch.id = head.branch_id
                 WHERE lane_run.status <> 'finished' AND lane_run.id > ?1
                       AND branch.repository_id IN ({})
                 ORDER BY lane_run.id LIMIT ?2",
                ids.join(", ")
            );
            record::list(transaction, &sql, params![after, limit], unfinished)
        })
        .await
    }
}
