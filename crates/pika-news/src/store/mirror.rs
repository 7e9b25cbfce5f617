//! Where each mirror stands.

use rusqlite::params;
use serde::Serialize;

use super::record::find;
use super::{Store, StoreError};
use crate::forge::id::RepositoryId;

/// Where a mirror stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MirrorState {
    /// `none` when the repository has no mirror; `waiting` before the first round, then `running`, `succeeded`, `partial` when something was not taken, or `failed`.
    pub status: String,
    /// What was not taken, or why it failed.
    pub message: Option<String>,
    /// When the last round began, in milliseconds since the Unix epoch.
    pub started_at_ms: Option<i64>,
    /// When it ended.
    pub finished_at_ms: Option<i64>,
    /// When everything was last the same.
    pub succeeded_at_ms: Option<i64>,
    /// When it is tried again, after a failure.
    pub next_try_at_ms: Option<i64>,
    /// How many rounds have failed since the last that did not.
    pub failures: u32,
    /// How many references the last round made or moved.
    pub pushed: u64,
    /// How many references the last round deleted.
    pub deleted: u64,
    /// Why commits could not be told their state, lately.
    pub statuses_message: Option<String>,
    /// Up to which event commits were told their state.
    #[serde(skip)]
    pub told_event: i64,
}

impl MirrorState {
    /// Of a repository without a mirror.
    pub(crate) fn none() -> MirrorState {
        MirrorState {
            status: "none".to_owned(),
            message: None,
            started_at_ms: None,
            finished_at_ms: None,
            succeeded_at_ms: None,
            next_try_at_ms: None,
            failures: 0,
            pushed: 0,
            deleted: 0,
            statuses_message: None,
            told_event: 0,
        }
    }
}

/// What came of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MirrorRound {
    pub(crate) status: &'static str,
    pub(crate) message: Option<String>,
    pub(crate) pushed: usize,
    pub(crate) deleted: usize,
    pub(crate) next_try_at_ms: Option<i64>,
}

impl Store {
    /// Reads where a mirror stands, and makes its row: commits are told their state from now on, not from the beginning.
    pub async fn ensure_mirror(&self, repository: RepositoryId) -> Result<MirrorState, StoreError> {
        self.write(move |transaction| {
            let latest = super::event::latest(transaction)?;
            let sql = "INSERT INTO mirror (repository_id, status, told_event) VALUES (?1, 'waiting', ?2)
                       ON CONFLICT DO NOTHING";
            transaction.execute(sql, params![repository, latest])?;
            let sql = "SELECT * FROM mirror WHERE repository_id = ?1";
            transaction.prepare_cached(sql)?.query_row([repository], read).map_err(StoreError::from)
        })
        .await
    }

    /// Reads where a mirror stands; `None` before its first round.
    pub async fn find_mirror(&self, repository: RepositoryId) -> Result<Option<MirrorState>, StoreError> {
        let sql = "SELECT * FROM mirror WHERE repository_id = ?1";
        self.read(move |transaction| find(transaction, sql, [repository], read)).await
    }

    /// Notes that a round begins.
    pub(crate) async fn begin_mirror(&self, repository: RepositoryId, now_ms: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE mirror SET status = 'running', started_at_ms = ?2, next_try_at_ms = NULL
                       WHERE repository_id = ?1";
            transaction.execute(sql, params![repository, now_ms])?;
            Ok(())
        })
        .await
    }

    /// Notes what came of a round.
    pub(crate) async fn finish_mirror(
        &self,
        repository: RepositoryId,
        round: MirrorRound,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction.execute(
                "UPDATE mirror SET status = ?2, message = ?3, finished_at_ms = ?4, pushed = ?5, deleted = ?6,
                     next_try_at_ms = ?7,
                     failures = CASE ?2 WHEN 'failed' THEN failures + 1 ELSE 0 END,
                     succeeded_at_ms = CASE ?2 WHEN 'succeeded' THEN ?4 ELSE succeeded_at_ms END
                 WHERE repository_id = ?1",
                params![
                    repository,
                    round.status,
                    round.message,
                    now_ms,
                    i64::try_from(round.pushed).unwrap_or(i64::MAX),
                    i64::try_from(round.deleted).unwrap_or(i64::MAX),
                    round.next_try_at_ms
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Notes up to which event commits were told their state, and what went wrong with that.
    pub(crate) async fn note_statuses(
        &self,
        repository: RepositoryId,
        told_event: i64,
        message: Option<String>,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE mirror SET told_event = max(told_event, ?2), statuses_message = ?3
                       WHERE repository_id = ?1";
            transaction.execute(sql, params![repository, told_event, message])?;
            Ok(())
        })
        .await
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<MirrorState> {
    let count = |name: &str| row.get::<_, i64>(name).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(MirrorState {
        status: row.get("status")?,
        message: row.get("message")?,
        started_at_ms: row.get("started_at_ms")?,
        finished_at_ms: row.get("finished_at_ms")?,
        succeeded_at_ms: row.get("succeeded_at_ms")?,
        next_try_at_ms: row.get("next_try_at_ms")?,
        failures: row.get("failures")?,
        pushed: count("pushed")?,
        deleted: count("deleted")?,
        statuses_message: row.get("statuses_message")?,
        told_event: row.get("told_event")?,
    })
}
