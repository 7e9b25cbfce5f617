//! Tutorials: queued, claimed, renewed, finished. One per head.
//!
//! Invariant: whoever writes a tutorial holds its claim token, and every change it makes checks the token in the same
//! statement; a token that does not fit changes nothing.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, Transaction, params};

use super::head::Superseded;
use super::record;
use super::{Store, StoreError};
use crate::forge::id::{BranchId, HeadId, RepositoryId};

/// Waits; said so that the index of what is unfinished is used (see `lane_run`).
pub(super) const QUEUED: &str = "status <> 'finished' AND status = 'queued'";

/// Where a tutorial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TutorialStatus {
    /// It waits for its turn, or for the time of its next try.
    Queued,
    /// It is being written.
    Running,
    /// Its writer has written it.
    Written,
    /// Its writer has written a part of it.
    Partial,
    /// The one of an earlier head holds for this one too: nothing that it shows has changed.
    CarriedOver,
    /// Its writer has failed, as often as is allowed.
    Failed,
    /// A newer head, or the end of the branch, has stopped it.
    Cancelled,
}

impl TutorialStatus {
    /// The word that is stored for the outcome of a finished one.
    fn outcome(self) -> Option<&'static str> {
        match self {
            TutorialStatus::Queued | TutorialStatus::Running => None,
            TutorialStatus::Written => Some("written"),
            TutorialStatus::Partial => Some("partial"),
            TutorialStatus::CarriedOver => Some("carried_over"),
            TutorialStatus::Failed => Some("failed"),
            TutorialStatus::Cancelled => Some("cancelled"),
        }
    }

    /// Whether nothing more happens by itself.
    pub fn is_final(self) -> bool {
        self.outcome().is_some()
    }
}

impl FromSql for TutorialStatus {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<TutorialStatus> {
        use TutorialStatus as Status;
        let text = value.as_str()?;
        let all = [Status::Written, Status::Partial, Status::CarriedOver, Status::Failed, Status::Cancelled];
        match text {
            "queued" => Ok(Status::Queued),
            "running" => Ok(Status::Running),
            text => all.into_iter().find(|status| status.outcome() == Some(text)).ok_or_else(|| {
                FromSqlError::other(StoreError::Word { what: "tutorial status", text: text.to_owned() })
            }),
        }
    }
}

/// A tutorial as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct TutorialRecord {
    /// Its head.
    pub head_id: HeadId,
    /// Where it stands.
    pub status: TutorialStatus,
    /// What failed last.
    pub failure: Option<String>,
    /// The checked tutorial as JSON.
    pub content: Option<String>,
    /// Who asked for it, when it was not a push.
    pub requested_by: Option<String>,
    /// It is not tried before.
    pub not_before_ms: i64,
    /// How often its writer was asked, since it was last asked for.
    pub tries: u32,
    /// How often its writer was asked, in all.
    pub attempts: u32,
    /// When it was queued.
    pub queued_at_ms: i64,
    /// When it was last claimed.
    pub started_at_ms: Option<i64>,
    /// When it came to its end.
    pub finished_at_ms: Option<i64>,
    /// How long all attempts took together.
    pub duration_ms: u64,
    /// How many tokens all attempts read.
    pub input_tokens: u64,
    /// How many tokens all attempts wrote.
    pub output_tokens: u64,
    /// What all attempts cost, as far as is known.
    pub cost_usd: Option<f64>,
}

/// The right to write a tutorial, and what is needed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TutorialJob {
    /// The head.
    pub head_id: HeadId,
    /// Its branch.
    pub branch_id: BranchId,
    /// Its repository.
    pub repository_id: RepositoryId,
    /// The token of the claim.
    pub token: String,
    /// The claim holds until then.
    pub lease_until_ms: i64,
    /// Which try this is, from 1, since it was last asked for.
    pub tries: u32,
}

/// How an attempt at a tutorial ended.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishTutorial {
    /// The head.
    pub head_id: HeadId,
    /// The token of the claim.
    pub token: String,
    /// What it came to; `Queued`: it is tried again.
    pub status: TutorialStatus,
    /// What failed.
    pub failure: Option<String>,
    /// The checked tutorial as JSON.
    pub content: Option<String>,
    /// When it is tried again, if it is.
    pub not_before_ms: i64,
    /// How long this attempt took.
    pub duration_ms: u64,
    /// How many tokens it read.
    pub input_tokens: u64,
    /// How many tokens it wrote.
    pub output_tokens: u64,
    /// What it cost.
    pub cost_usd: Option<f64>,
    /// When.
    pub now_ms: i64,
}

const COLUMNS: &str = "tutorial.head_id, COALESCE(tutorial.outcome, tutorial.status) AS word, tutorial.failure, \
    tutorial.content, tutorial.requested_by, tutorial.not_before_ms, tutorial.tries, tutorial.attempts, \
    tutorial.queued_at_ms, tutorial.started_at_ms, tutorial.finished_at_ms, tutorial.duration_ms, \
    tutorial.input_tokens, tutorial.output_tokens, tutorial.cost_usd";

fn tutorial(row: &Row<'_>) -> rusqlite::Result<TutorialRecord> {
    let count = |name: &str| row.get::<_, i64>(name).map(i64::unsigned_abs);
    Ok(TutorialRecord {
        head_id: row.get("head_id")?,
        status: row.get("word")?,
        failure: row.get("failure")?,
        content: row.get("content")?,
        requested_by: row.get("requested_by")?,
        not_before_ms: row.get("not_before_ms")?,
        tries: row.get("tries")?,
        attempts: row.get("attempts")?,
        queued_at_ms: row.get("queued_at_ms")?,
        started_at_ms: row.get("started_at_ms")?,
        finished_at_ms: row.get("finished_at_ms")?,
        duration_ms: count("duration_ms")?,
        input_tokens: count("input_tokens")?,
        output_tokens: count("output_tokens")?,
        cost_usd: row.get("cost_usd")?,
    })
}

impl Store {
    /// Finds the tutorial of a head.
    pub async fn find_tutorial(&self, head: HeadId) -> Result<Option<TutorialRecord>, StoreError> {
        self.read(move |transaction| {
            let sql = format!("SELECT {COLUMNS} FROM tutorial WHERE head_id = ?1");
            record::find(transaction, &sql, [head], tutorial)
        })
        .await
    }

    /// Finds the latest tutorial that was written for another head of the branch.
    pub async fn find_earlier_tutorial(
        &self,
        branch: BranchId,
        except: HeadId,
    ) -> Result<Option<TutorialRecord>, StoreError> {
        self.read(move |transaction| {
            let sql = format!(
                "SELECT {COLUMNS} FROM tutorial JOIN head ON head.id = tutorial.head_id
                 WHERE head.branch_id = ?1 AND head.id <> ?2 AND tutorial.content IS NOT NULL
                 ORDER BY tutorial.finished_at_ms DESC, head.id DESC LIMIT 1"
            );
            record::find(transaction, &sql, params![branch, except], tutorial)
        })
        .await
    }

    /// Claims the oldest tutorial that is due, if there is one.
    pub async fn claim_tutorial(
        &self,
        token: &str,
        lease_until_ms: i64,
        now_ms: i64,
    ) -> Result<Option<TutorialJob>, StoreError> {
        let token = token.to_owned();
        self.write(move |transaction| {
            let sql = format!(
                "UPDATE tutorial SET status = 'running', claim = ?1, lease_until_ms = ?2, started_at_ms = ?3,
                              tries = tries + 1, attempts = attempts + 1
                       WHERE head_id = (SELECT head_id FROM tutorial WHERE {QUEUED} AND not_before_ms <= ?3
                                        ORDER BY queued_at_ms, head_id LIMIT 1)
                       RETURNING head_id, tries"
            );
            let claimed = record::find(transaction, &sql, params![token, lease_until_ms, now_ms], |row| {
                Ok((row.get::<_, HeadId>(0)?, row.get::<_, u32>(1)?))
            })?;
            let Some((head_id, tries)) = claimed else { return Ok(None) };
            let sql =
                "SELECT branch.id, branch.repository_id FROM head JOIN branch ON branch.id = head.branch_id
                       WHERE head.id = ?1";
            let (branch_id, repository_id) =
                transaction.query_row(sql, [head_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(Some(TutorialJob { head_id, branch_id, repository_id, token, lease_until_ms, tries }))
        })
        .await
    }

    /// When the next tutorial that waits for its time is due.
    pub async fn next_tutorial_ms(&self) -> Result<Option<i64>, StoreError> {
        self.read(|transaction| {
            let sql = format!("SELECT MIN(not_before_ms) FROM tutorial WHERE {QUEUED}");
            Ok(transaction.query_row(&sql, [], |row| row.get(0))?)
        })
        .await
    }

    /// Counts the tutorials that wait.
    pub async fn count_tutorials_queued(&self) -> Result<u32, StoreError> {
        self.read(|transaction| {
            let sql = format!("SELECT COUNT(*) FROM tutorial WHERE {QUEUED}");
            Ok(transaction.query_row(&sql, [], |row| row.get(0))?)
        })
        .await
    }

    /// Renews a lease. `false`: the claim is over.
    pub async fn renew_tutorial(
        &self,
        head: HeadId,
        token: &str,
        lease_until_ms: i64,
    ) -> Result<bool, StoreError> {
        let token = token.to_owned();
        self.write(move |transaction| {
            let sql = "UPDATE tutorial SET lease_until_ms = ?3
                       WHERE head_id = ?1 AND claim = ?2 AND status = 'running'";
            Ok(transaction.execute(sql, params![head, token, lease_until_ms])? == 1)
        })
        .await
    }

    /// Stores how an attempt ended. `false`: the claim is over; nothing was stored.
    pub async fn finish_tutorial(&self, finish: FinishTutorial) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE tutorial SET status = ?3, outcome = ?4, failure = ?5, content = COALESCE(?6, content),
                              not_before_ms = ?7, finished_at_ms = ?8, claim = NULL, lease_until_ms = NULL,
                              duration_ms = duration_ms + ?9, input_tokens = input_tokens + ?10,
                              output_tokens = output_tokens + ?11,
                              cost_usd = CASE WHEN ?12 IS NULL THEN cost_usd ELSE COALESCE(cost_usd, 0) + ?12 END
                       WHERE head_id = ?1 AND claim = ?2 AND status = 'running'";
            let is_final = finish.status.is_final();
            let changed = transaction.execute(
                sql,
                params![
                    finish.head_id,
                    finish.token,
                    if is_final { "finished" } else { "queued" },
                    finish.status.outcome(),
                    finish.failure,
                    finish.content,
                    finish.not_before_ms,
                    is_final.then_some(finish.now_ms),
                    finish.duration_ms.cast_signed(),
                    finish.input_tokens.cast_signed(),
                    finish.output_tokens.cast_signed(),
                    finish.cost_usd
                ],
            )?;
            Ok(changed == 1)
        })
        .await
    }

    /// Queues what an ended forge or a lost writer has left: all that is claimed, or what has a lease that is over. The
    /// try counts as one.
    pub async fn requeue_tutorials(&self, is_all: bool, now_ms: i64) -> Result<u32, StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE tutorial SET status = 'queued', claim = NULL, lease_until_ms = NULL
                       WHERE status <> 'finished' AND status = 'running' AND (?1 OR lease_until_ms < ?2)";
            Ok(u32::try_from(transaction.execute(sql, params![is_all, now_ms])?).unwrap_or(u32::MAX))
        })
        .await
    }

    /// Queues a tutorial that has come to its end or was never asked for, because somebody asks. `false`: it is
    /// about to be written, or is being written.
    pub async fn retry_tutorial(
        &self,
        head: HeadId,
        requested_by: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let requested_by = requested_by.to_owned();
        self.write(move |transaction| {
            let sql = "INSERT INTO tutorial (head_id, status, requested_by, queued_at_ms) VALUES (?1, 'queued', ?2, ?3)
                       ON CONFLICT (head_id) DO UPDATE
                       SET status = 'queued', outcome = NULL, requested_by = ?2, not_before_ms = 0, tries = 0,
                           queued_at_ms = ?3, finished_at_ms = NULL
                       WHERE status = 'finished' OR status = 'queued' AND not_before_ms > ?3";
            Ok(transaction.execute(sql, params![head, requested_by, now_ms])? == 1)
        })
        .await
    }
}

/// Queues the tutorial of a head, unless there is one that was not stopped.
pub(super) fn enqueue(transaction: &Transaction<'_>, head: HeadId, now_ms: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO tutorial (head_id, status, queued_at_ms) VALUES (?1, 'queued', ?2)
               ON CONFLICT (head_id) DO UPDATE
               SET status = 'queued', outcome = NULL, failure = NULL, queued_at_ms = ?2, not_before_ms = 0, tries = 0,
                   finished_at_ms = NULL
               WHERE outcome = 'cancelled'";
    transaction.prepare_cached(sql)?.execute(params![head, now_ms])?;
    Ok(())
}

/// Stops the tutorials of a branch but for one head's. Who writes one loses the claim with it.
pub(super) fn cancel(transaction: &Transaction<'_>, stopped: &Superseded<'_>) -> Result<(), StoreError> {
    let sql = "UPDATE tutorial SET status = 'finished', outcome = 'cancelled', failure = ?3, claim = NULL,
                      lease_until_ms = NULL, finished_at_ms = ?4
               WHERE status <> 'finished'
               AND head_id IN (SELECT id FROM head WHERE branch_id = ?1 AND id IS NOT ?2)";
    let parameters = params![stopped.branch, stopped.except, stopped.message, stopped.now_ms];
    transaction.prepare_cached(sql)?.execute(parameters)?;
    Ok(())
}

#[cfg(test)]
mod tests;
