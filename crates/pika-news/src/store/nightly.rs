//! Nightlies: begun at most once for each time that is due, and never while the one before runs.

use rusqlite::{Row, params};

use super::head::{QueuedAttempt, insert_attempt, insert_lane};
use super::record::{find, list};
use super::{NewLane, Store, StoreError};
use crate::forge::id::{HeadId, LaneId, LaneRunId, RepositoryId};

/// How many nightlies of a repository are kept in the list. Their runs are kept as all are.
const KEPT: u32 = 200;

/// A nightly that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNightly {
    /// Its repository.
    pub repository_id: RepositoryId,
    /// When it was due.
    pub due_at_ms: i64,
    /// What is to be tested; `None`: there is nothing.
    pub head_id: Option<HeadId>,
    /// What is to be run.
    pub lanes: Vec<NewLane>,
    /// Why nothing is run.
    pub message: Option<String>,
    /// When.
    pub now_ms: i64,
}

/// A nightly as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NightlyRecord {
    /// Its number.
    pub id: i64,
    /// Its repository.
    pub repository_id: RepositoryId,
    /// When it was due.
    pub due_at_ms: i64,
    /// When it began.
    pub began_at_ms: i64,
    /// The commit that it tests.
    pub head_oid: Option<String>,
    /// Why nothing was run.
    pub message: Option<String>,
    /// Its attempts, the latest of each lane.
    pub runs: Vec<LaneRunId>,
}

/// What came of a nightly that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeganNightly {
    /// Its lanes are queued.
    Began,
    /// The one before runs; it is to be tried again.
    Busy,
    /// It was begun before.
    Done,
}

fn nightly(row: &Row<'_>) -> rusqlite::Result<NightlyRecord> {
    Ok(NightlyRecord {
        id: row.get("id")?,
        repository_id: row.get("repository_id")?,
        due_at_ms: row.get("due_at_ms")?,
        began_at_ms: row.get("began_at_ms")?,
        head_oid: row.get("oid")?,
        message: row.get("message")?,
        runs: Vec::new(),
    })
}

impl Store {
    /// Finds since when a repository has nightlies, and when its latest was due; from now on when it has none yet.
    pub async fn nightly_since(&self, repository: RepositoryId, now_ms: i64) -> Result<i64, StoreError> {
        self.write(move |transaction| {
            let sql = "INSERT INTO nightly_since (repository_id, since_ms) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            transaction.execute(sql, params![repository, now_ms])?;
            let sql = "SELECT MAX(since_ms, COALESCE((SELECT MAX(due_at_ms) FROM nightly WHERE repository_id = ?1), 0))
                       FROM nightly_since WHERE repository_id = ?1";
            Ok(transaction.query_row(sql, [repository], |row| row.get(0))?)
        })
        .await
    }

    /// Begins a nightly: queues an attempt at each lane, of which those are made that the head has not.
    pub async fn begin_nightly(&self, new: NewNightly) -> Result<BeganNightly, StoreError> {
        self.write(move |transaction| {
            let sql = "SELECT 1 FROM lane_run JOIN nightly ON nightly.id = lane_run.nightly_id
                       WHERE lane_run.status <> 'finished' AND nightly.repository_id = ?1 LIMIT 1";
            if find(transaction, sql, [new.repository_id], |_| Ok(()))?.is_some() {
                return Ok(BeganNightly::Busy);
            }
            let sql = "INSERT INTO nightly (repository_id, due_at_ms, began_at_ms, head_id, message)
                       VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
            let parameters = params![new.repository_id, new.due_at_ms, new.now_ms, new.head_id, new.message];
            if transaction.execute(sql, parameters)? == 0 {
                return Ok(BeganNightly::Done);
            }
            let id = transaction.last_insert_rowid();
            for lane in new.head_id.iter().flat_map(|head| new.lanes.iter().map(move |lane| (*head, lane))) {
                let (head, lane) = lane;
                let sql = "SELECT id FROM lane WHERE head_id = ?1 AND target = ?2";
                let known: Option<LaneId> =
                    find(transaction, sql, params![head, lane.target], |row| row.get(0))?;
                let lane_id = match known {
                    Some(lane_id) => lane_id,
                    None => {
                        let sql = "SELECT COALESCE(MAX(position), -1) + 1 FROM lane WHERE head_id = ?1";
                        let position = transaction.query_row(sql, [head], |row| row.get(0))?;
                        insert_lane(transaction, head, position, lane)?
                    }
                };
                // What a push or a person has asked for of the same commit is as good.
                let sql = "SELECT id FROM lane_run WHERE lane_id = ?1 AND status <> 'finished'";
                let unfinished: Option<LaneRunId> = find(transaction, sql, [lane_id], |row| row.get(0))?;
                if let Some(run) = unfinished {
                    transaction
                        .execute("UPDATE lane_run SET nightly_id = ?2 WHERE id = ?1", params![run, id])?;
                } else {
                    let nightly = QueuedAttempt {
                        cause: "nightly",
                        nightly: Some(id),
                        ..QueuedAttempt::of_push(lane_id, new.now_ms)
                    };
                    insert_attempt(transaction, &nightly)?;
                }
            }
            let sql = "DELETE FROM nightly WHERE repository_id = ?1 AND id <=
                       (SELECT id FROM nightly WHERE repository_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
            transaction.execute(sql, params![new.repository_id, KEPT])?;
            Ok(BeganNightly::Began)
        })
        .await
    }

    /// Lists the nightlies of these repositories, the latest first, after one.
    pub async fn list_nightlies(
        &self,
        repositories: Vec<RepositoryId>,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<NightlyRecord>, StoreError> {
        self.read(move |transaction| {
            let ids: Vec<String> = repositories.iter().map(RepositoryId::to_string).collect();
            let sql = format!(
                "SELECT nightly.id, repository_id, due_at_ms, began_at_ms, head.oid AS oid, message
                 FROM nightly LEFT JOIN head ON head.id = nightly.head_id
                 WHERE repository_id IN ({}) AND nightly.id < ?1 ORDER BY nightly.id DESC LIMIT ?2",
                ids.join(",")
            );
            let mut found = list(transaction, &sql, params![after.unwrap_or(i64::MAX), limit], nightly)?;
            let sql = "SELECT MAX(id) FROM lane_run WHERE nightly_id = ?1 GROUP BY lane_id ORDER BY lane_id";
            for nightly in &mut found {
                nightly.runs = list(transaction, sql, [nightly.id], |row| row.get(0))?;
            }
            Ok(found)
        })
        .await
    }
}
