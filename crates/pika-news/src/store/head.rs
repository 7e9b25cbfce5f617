//! Heads and their lanes: what a push leaves in the database, in one transaction.
//!
//! Invariant: what was selected for a head never changes; only its attempts grow.

use rusqlite::{Transaction, params};

use super::record::{self, HEAD_COLUMNS, LANE_COLUMNS, LANE_RUN_COLUMNS};
use super::tutorial;
use super::{Group, HeadRecord, LaneRecord, LaneRunRecord, Store, StoreError};
use crate::forge::id::{BranchId, HeadId, LaneId, LaneRunId, RepositoryId};
use crate::forge::state::{BranchState, LaneKind, Selection};

/// A head as it was selected, to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct NewHead {
    /// The repository.
    pub repository_id: RepositoryId,
    /// The branch's name.
    pub branch: String,
    /// The commit.
    pub oid: String,
    /// The merge base with the target.
    pub base_oid: Option<String>,
    /// Whether it shares no history with the target.
    pub is_orphan: bool,
    /// The first line of the commit's message.
    pub subject: String,
    /// The commit's author.
    pub author: String,
    /// What was read from the manifest.
    pub selection: Selection,
    /// The lanes, in the manifest's order.
    pub lanes: Vec<NewLane>,
    /// Whether a tutorial is to be written for it.
    pub has_tutorial: bool,
    /// Who pushed it.
    pub pushed_by: Option<String>,
    /// When.
    pub now_ms: i64,
}

/// A lane of a [`NewHead`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLane {
    /// The target's id.
    pub target: String,
    /// The target's title.
    pub title: String,
    /// Whether a merge needs it.
    pub is_required: bool,
    /// What selection made of it; a selected lane is queued.
    pub kind: LaneKind,
    /// Why, when it is not to be run.
    pub reason: Option<String>,
    /// Its concurrency group.
    pub group: Option<Group>,
}

/// What recording a head changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedHead {
    /// The branch.
    pub branch_id: BranchId,
    /// The head.
    pub head_id: HeadId,
    /// The targets that were queued.
    pub queued: Vec<String>,
    /// Lane runs of older heads that are alive and are to be stopped.
    pub superseded: Vec<LaneRunId>,
}

impl Store {
    /// Points a branch at a head, opens it, queues what has to run, and stops what runs for its older heads.
    ///
    /// A head that is known already keeps its lanes and its results; only what a newer head had stopped is queued
    /// again.
    pub async fn record_head(&self, new: NewHead) -> Result<RecordedHead, StoreError> {
        self.write(move |transaction| {
            let branch_id = ensure_branch(transaction, &new)?;
            let found = find_head(transaction, branch_id, &new.oid)?;
            let head_id = match found {
                Some(head_id) => head_id,
                None => insert_head(transaction, branch_id, &new)?,
            };
            // Before its lanes: that is the order in which it is told.
            transaction.execute(
                "UPDATE branch SET head_id = ?2, state = ?3, merge_oid = NULL, updated_at_ms = ?4 WHERE id = ?1",
                params![branch_id, head_id, BranchState::Open, new.now_ms],
            )?;
            let queued = match found {
                Some(head_id) => requeue_superseded(transaction, head_id, new.now_ms)?,
                None => insert_lanes(transaction, head_id, &new)?,
            };
            let message = format!("superseded by {}", new.oid.get(..10).unwrap_or(&new.oid));
            let stopped =
                Superseded { branch: branch_id, except: Some(head_id), message: &message, now_ms: new.now_ms };
            let superseded = supersede(transaction, &stopped)?;
            if new.has_tutorial {
                tutorial::enqueue(transaction, head_id, new.now_ms)?;
            }
            Ok(RecordedHead { branch_id, head_id, queued, superseded })
        })
        .await
    }

    /// Finds a head of a branch by its commit.
    pub async fn find_head(&self, branch: BranchId, oid: &str) -> Result<Option<HeadRecord>, StoreError> {
        let oid = oid.to_owned();
        self.read(move |transaction| {
            let sql = format!("SELECT {HEAD_COLUMNS} FROM head WHERE branch_id = ?1 AND oid = ?2");
            record::find(transaction, &sql, params![branch, oid], record::head)
        })
        .await
    }

    /// Reads a head by its number.
    pub async fn find_head_by_id(&self, head: HeadId) -> Result<Option<HeadRecord>, StoreError> {
        self.read(move |transaction| {
            let sql = format!("SELECT {HEAD_COLUMNS} FROM head WHERE id = ?1");
            record::find(transaction, &sql, [head], record::head)
        })
        .await
    }

    /// Reads a head with its lanes, each with its attempts, the latest first.
    pub async fn read_head(&self, head: HeadId) -> Result<HeadWithLanes, StoreError> {
        self.read(move |transaction| head_with_lanes(transaction, head)).await
    }

    /// Lists a branch's heads with their lanes, the latest push first.
    pub async fn list_heads(&self, branch: BranchId, limit: u32) -> Result<Vec<HeadWithLanes>, StoreError> {
        self.read(move |transaction| {
            let sql = format!(
                "SELECT {HEAD_COLUMNS} FROM head WHERE branch_id = ?1 ORDER BY pushed_at_ms DESC, id DESC LIMIT ?2"
            );
            let heads = record::list(transaction, &sql, params![branch, limit], record::head)?;
            heads.into_iter().map(|head| with_lanes(transaction, head)).collect()
        })
        .await
    }
}

/// A head with its lanes, each with its attempts, the latest first.
pub type HeadWithLanes = (HeadRecord, Vec<(LaneRecord, Vec<LaneRunRecord>)>);

/// Reads a head with its lanes within a transaction.
pub(super) fn head_with_lanes(
    transaction: &Transaction<'_>,
    head: HeadId,
) -> Result<HeadWithLanes, StoreError> {
    let sql = format!("SELECT {HEAD_COLUMNS} FROM head WHERE id = ?1");
    let record = transaction.prepare_cached(&sql)?.query_row([head], record::head)?;
    with_lanes(transaction, record)
}

pub(super) fn with_lanes(
    transaction: &Transaction<'_>,
    head: HeadRecord,
) -> Result<HeadWithLanes, StoreError> {
    let lanes = list_lanes(transaction, head.id)?.into_iter().map(|lane| {
        let attempts = list_attempts(transaction, lane.id)?;
        Ok((lane, attempts))
    });
    let lanes = lanes.collect::<Result<_, StoreError>>()?;
    Ok((head, lanes))
}

fn ensure_branch(transaction: &Transaction<'_>, new: &NewHead) -> Result<BranchId, StoreError> {
    transaction.execute(
        "INSERT INTO branch (repository_id, name, state, updated_at_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (repository_id, name) DO NOTHING",
        params![new.repository_id, new.branch, BranchState::Open, new.now_ms],
    )?;
    let sql = "SELECT id FROM branch WHERE repository_id = ?1 AND name = ?2";
    Ok(transaction.query_row(sql, params![new.repository_id, new.branch], |row| row.get(0))?)
}

fn find_head(
    transaction: &Transaction<'_>,
    branch: BranchId,
    oid: &str,
) -> Result<Option<HeadId>, StoreError> {
    let sql = "SELECT id FROM head WHERE branch_id = ?1 AND oid = ?2";
    record::find(transaction, sql, params![branch, oid], |row| row.get(0))
}

fn insert_head(transaction: &Transaction<'_>, branch: BranchId, new: &NewHead) -> Result<HeadId, StoreError> {
    let (word, message, line, column) = match &new.selection {
        Selection::Selected => (record::SELECTED, None, None, None),
        Selection::NoManifest => (record::NO_MANIFEST, None, None, None),
        Selection::ManifestError { message, line, column } => {
            (record::MANIFEST_ERROR, Some(message), *line, *column)
        }
    };
    transaction.execute(
        "INSERT INTO head (branch_id, oid, base_oid, is_orphan, subject, author, selection, selection_message,
                           selection_line, selection_column, pushed_by, pushed_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            branch,
            new.oid,
            new.base_oid,
            new.is_orphan,
            new.subject,
            new.author,
            word,
            message,
            line,
            column,
            new.pushed_by,
            new.now_ms
        ],
    )?;
    Ok(HeadId(transaction.last_insert_rowid()))
}

/// Adds the lanes of a new head, and queues those that are to be run.
fn insert_lanes(
    transaction: &Transaction<'_>,
    head: HeadId,
    new: &NewHead,
) -> Result<Vec<String>, StoreError> {
    let mut queued = Vec::new();
    for (position, lane) in (0u32..).zip(&new.lanes) {
        let lane_id = insert_lane(transaction, head, position, lane)?;
        if lane.kind == LaneKind::Selected {
            insert_attempt(transaction, &QueuedAttempt::of_push(lane_id, new.now_ms))?;
            queued.push(lane.target.clone());
        }
    }
    Ok(queued)
}

pub(super) fn insert_lane(
    transaction: &Transaction<'_>,
    head: HeadId,
    position: u32,
    lane: &NewLane,
) -> Result<LaneId, StoreError> {
    let sql = "INSERT INTO lane (head_id, position, target, title, is_required, kind, reason, group_name, group_size)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    transaction.prepare_cached(sql)?.execute(params![
        head,
        position,
        lane.target,
        lane.title,
        lane.is_required,
        lane.kind,
        lane.reason,
        lane.group.as_ref().map(|group| &group.name),
        lane.group.as_ref().map(|group| group.size)
    ])?;
    Ok(LaneId(transaction.last_insert_rowid()))
}

/// An attempt to be queued.
pub(super) struct QueuedAttempt<'a> {
    pub(super) lane: LaneId,
    pub(super) cause: &'a str,
    pub(super) requested_by: Option<&'a str>,
    pub(super) rerun_of: Option<&'a str>,
    pub(super) is_failed_only: bool,
    pub(super) not_before_ms: i64,
    /// The nightly that it belongs to.
    pub(super) nightly: Option<i64>,
    pub(super) now_ms: i64,
}

impl QueuedAttempt<'_> {
    pub(super) fn of_push(lane: LaneId, now_ms: i64) -> QueuedAttempt<'static> {
        QueuedAttempt {
            lane,
            cause: "push",
            requested_by: None,
            rerun_of: None,
            is_failed_only: false,
            not_before_ms: 0,
            nightly: None,
            now_ms,
        }
    }
}

/// Queues the next attempt at a lane.
pub(super) fn insert_attempt(
    transaction: &Transaction<'_>,
    attempt: &QueuedAttempt<'_>,
) -> Result<LaneRunId, StoreError> {
    let sql = "INSERT INTO lane_run (lane_id, attempt, cause, requested_by, rerun_of, is_failed_only, status,
                                     not_before_ms, queued_at_ms, nightly_id)
               SELECT ?1, COALESCE(MAX(attempt), 0) + 1, ?2, ?3, ?4, ?5, 'queued', ?6, ?7, ?8
               FROM lane_run WHERE lane_id = ?1";
    transaction.prepare_cached(sql)?.execute(params![
        attempt.lane,
        attempt.cause,
        attempt.requested_by,
        attempt.rerun_of,
        attempt.is_failed_only,
        attempt.not_before_ms,
        attempt.now_ms,
        attempt.nightly
    ])?;
    Ok(LaneRunId(transaction.last_insert_rowid()))
}

/// Queues again what a newer head had stopped. A run that is still being stopped is followed by its `finish`.
fn requeue_superseded(
    transaction: &Transaction<'_>,
    head: HeadId,
    now_ms: i64,
) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT lane.id, lane.target FROM lane
               JOIN lane_run ON lane_run.lane_id = lane.id
               WHERE lane.head_id = ?1 AND lane_run.is_superseded AND lane_run.status = 'finished'
               AND lane_run.outcome = 'cancelled'
               AND lane_run.attempt = (SELECT MAX(attempt) FROM lane_run AS latest WHERE latest.lane_id = lane.id)
               ORDER BY lane.position";
    let lanes: Vec<(LaneId, String)> =
        record::list(transaction, sql, [head], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (lane, _) in &lanes {
        insert_attempt(transaction, &QueuedAttempt::of_push(*lane, now_ms))?;
    }
    Ok(lanes.into_iter().map(|(_, target)| target).collect())
}

/// Which lanes of a branch are to be stopped, and why.
pub(super) struct Superseded<'a> {
    pub(super) branch: BranchId,
    /// The head whose lanes go on.
    pub(super) except: Option<HeadId>,
    pub(super) message: &'a str,
    pub(super) now_ms: i64,
}

/// Cancels what is queued and marks what runs; returns the latter. Tutorials end with the lanes. Nightlies go on: a branch that
/// is pushed to all the time would never have one.
pub(super) fn supersede(
    transaction: &Transaction<'_>,
    stopped: &Superseded<'_>,
) -> Result<Vec<LaneRunId>, StoreError> {
    tutorial::cancel(transaction, stopped)?;
    let lanes = "lane_id IN (SELECT lane.id FROM lane JOIN head ON head.id = lane.head_id
                             WHERE head.branch_id = ?1 AND head.id IS NOT ?2)";
    let sql = format!(
        "UPDATE lane_run SET status = 'finished', outcome = 'cancelled', fault = 'user', message = ?3, waits = NULL,
                             is_superseded = 1, finished_at_ms = ?4
         WHERE status = 'queued' AND nightly_id IS NULL AND {lanes}"
    );
    transaction.prepare_cached(&sql)?.execute(params![
        stopped.branch,
        stopped.except,
        stopped.message,
        stopped.now_ms
    ])?;
    let sql = format!(
        "UPDATE lane_run SET is_cancel_requested = 1, is_superseded = 1, cancel_message = ?3
         WHERE status = 'running' AND NOT is_cancel_requested AND nightly_id IS NULL AND {lanes} RETURNING id"
    );
    let parameters = params![stopped.branch, stopped.except, stopped.message];
    record::list(transaction, &sql, parameters, |row| row.get(0))
}

pub(super) fn list_lanes(transaction: &Transaction<'_>, head: HeadId) -> Result<Vec<LaneRecord>, StoreError> {
    let sql = format!("SELECT {LANE_COLUMNS} FROM lane WHERE head_id = ?1 ORDER BY position");
    record::list(transaction, &sql, [head], record::lane)
}

pub(super) fn list_attempts(
    transaction: &Transaction<'_>,
    lane: LaneId,
) -> Result<Vec<LaneRunRecord>, StoreError> {
    let sql = format!("SELECT {LANE_RUN_COLUMNS} FROM lane_run WHERE lane_id = ?1 ORDER BY attempt DESC");
    record::list(transaction, &sql, [lane], record::lane_run)
}
