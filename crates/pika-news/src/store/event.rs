//! Events: written by triggers (migrations/0007_events.sql) and, for what only this program can judge, at the end of each
//! transaction; read in order; removed when they are old.

use rusqlite::{Transaction, params};

use super::head::head_with_lanes;
use super::record;
use super::{Store, StoreError};
use crate::forge::event::{Event, EventKind, Events, Gone};
use crate::forge::id::{HeadId, RepositoryId};
use crate::forge::state::{Attempt, HeadState, head_state, lane_state};

/// How many events are kept at most, and for how long.
const EVENTS_KEPT_MAX: i64 = 200_000;
const EVENTS_KEPT_MS: i64 = 30 * 24 * 3600 * 1000;
/// The most that one transaction removes: nobody waits long for it.
const REMOVED_AT_ONCE: i64 = 5_000;

impl Store {
    /// Lists events of these repositories after a place, the oldest first.
    pub async fn list_events(
        &self,
        repositories: Vec<(RepositoryId, String)>,
        after: i64,
        limit: u32,
    ) -> Result<Result<Events, Gone>, StoreError> {
        self.read(move |transaction| {
            let (before, latest) = bounds(transaction)?;
            if after > latest {
                return Ok(Err(Gone::Unknown { latest }));
            }
            if after < before {
                return Ok(Err(Gone::Removed { oldest: before + 1 }));
            }
            let ids: Vec<String> = repositories.iter().map(|(id, _)| id.to_string()).collect();
            // The index has the order of one repository; of several, it would have all their events sorted first.
            let mark = if ids.len() > 1 { "+" } else { "" };
            let sql = format!(
                "SELECT id, at_ms, repository_id, branch_id, kind, detail FROM event
                 WHERE id > ?1 AND {mark}repository_id IN ({}) ORDER BY id LIMIT ?2",
                ids.join(",")
            );
            let mut statement = transaction.prepare_cached(&sql)?;
            let mut rows = statement.query(params![after, i64::from(limit) + 1])?;
            let mut events = Vec::new();
            let (mut position, mut has_more) = (latest, false);
            while let Some(row) = rows.next()? {
                if events.len() == limit as usize {
                    has_more = true;
                    break;
                }
                let id = row.get("id")?;
                position = id;
                let repository_id: RepositoryId = row.get("repository_id")?;
                let repository = repositories.iter().find(|(id, _)| *id == repository_id);
                let (kind, detail): (String, String) = (row.get("kind")?, row.get("detail")?);
                // A word of a newer forge: who reads with this one can't be told of it.
                let (Some(kind), Some((_, repository))) = (EventKind::parse(&kind), repository) else {
                    continue;
                };
                let unreadable = |_| StoreError::Word { what: "event", text: detail.clone() };
                events.push(Event {
                    id,
                    kind,
                    at_ms: row.get("at_ms")?,
                    repository: repository.clone(),
                    branch_id: row.get("branch_id")?,
                    detail: serde_json::from_str(&detail).map_err(unreadable)?,
                });
            }
            let position = if has_more { position } else { latest };
            Ok(Ok(Events { events, position, has_more }))
        })
        .await
    }

    /// The place before the oldest event that is kept, and the latest event's.
    pub async fn event_bounds(&self) -> Result<(i64, i64), StoreError> {
        self.read(bounds).await
    }

    /// Follows the id of the latest event that this process has written.
    pub fn watch_events(&self) -> tokio::sync::watch::Receiver<i64> {
        self.inner.latest_event.subscribe()
    }

    /// Removes old events, a bounded number. Returns how many were removed.
    pub async fn remove_old_events(&self, now_ms: i64) -> Result<usize, StoreError> {
        self.remove_events(EVENTS_KEPT_MAX, now_ms - EVENTS_KEPT_MS).await
    }

    pub(crate) async fn remove_events(&self, kept_max: i64, older_ms: i64) -> Result<usize, StoreError> {
        self.write(move |transaction| {
            let (before, latest) = bounds(transaction)?;
            // What is kept is the end of the order, whatever the clock did meanwhile.
            let sql = "SELECT id FROM event WHERE at_ms >= ?1 ORDER BY id LIMIT 1";
            let young: Option<i64> = record::find(transaction, sql, [older_ms], |row| row.get(0))?;
            let end = young.map_or(latest, |id| id - 1).max(latest - kept_max).min(before + REMOVED_AT_ONCE);
            Ok(transaction.execute("DELETE FROM event WHERE id <= ?1", [end])?)
        })
        .await
    }
}

/// The place before the oldest event that is kept, and the latest event's.
fn bounds(transaction: &Transaction<'_>) -> Result<(i64, i64), StoreError> {
    let latest = latest(transaction)?;
    let sql = "SELECT MIN(id) FROM event";
    let oldest: Option<i64> = transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok((oldest.map_or(latest, |id| id - 1), latest))
}

/// The id that was given last, be the event kept or not.
pub(super) fn latest(transaction: &Transaction<'_>) -> Result<i64, StoreError> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'event'";
    Ok(record::find(transaction, sql, [], |row| row.get(0))?.unwrap_or(0))
}

/// Judges the heads whose lanes have changed in this transaction, and tells what is decided now and was not before.
pub(super) fn tell_verdicts(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let sql = "DELETE FROM verdict_due RETURNING head_id, at_ms";
    let due: Vec<(HeadId, i64)> =
        record::list(transaction, sql, [], |row| Ok((row.get("head_id")?, row.get("at_ms")?)))?;
    for (head, at_ms) in due {
        let (record, lanes) = head_with_lanes(transaction, head)?;
        let states = lanes.iter().filter(|(lane, _)| lane.is_required).map(|(lane, attempts)| {
            let latest = attempts.first().map(|run| Attempt {
                status: run.status,
                outcome: run.outcome.clone(),
                fault: run.fault.clone(),
            });
            lane_state(lane.kind, latest.as_ref())
        });
        let verdict = head_state(&record.selection, states);
        let sql = "UPDATE head SET verdict = ?2 WHERE id = ?1 AND verdict IS NOT ?2";
        let is_new = transaction.prepare_cached(sql)?.execute(params![head, verdict.as_str()])? == 1;
        if is_new && !matches!(verdict, HeadState::Queued | HeadState::Running) {
            let sql = "INSERT INTO event (at_ms, repository_id, branch_id, kind, detail)
                       SELECT ?2, branch.repository_id, branch.id, ?3,
                              json_object('branch', branch.name, 'head_oid', head.oid, 'verdict', ?4)
                       FROM head JOIN branch ON branch.id = head.branch_id WHERE head.id = ?1";
            let kind = EventKind::HeadVerdict.as_str();
            transaction.prepare_cached(sql)?.execute(params![head, at_ms, kind, verdict.as_str()])?;
        }
    }
    Ok(())
}
