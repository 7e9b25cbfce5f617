//! Lane runs: queued, claimed, renewed, finished.
//!
//! Invariant: whoever runs a lane run holds its claim token, and every change it makes checks the token in the same
//! statement; a token that does not fit changes nothing.

use pikaci::{Fault, Outcome, RunId};
use rusqlite::{Row, Transaction, params};

use super::head::{QueuedAttempt, insert_attempt, list_attempts};
use super::record::{self, LANE_COLUMNS, StoredRunId};
use super::{Group, LaneRecord, LaneRunRecord, Store, StoreError};
use crate::forge::id::{BranchId, HeadId, LaneId, LaneRunId, RepositoryId};

/// A lane run that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedLaneRun {
    /// Its number; lower is older.
    pub id: LaneRunId,
    /// Its repository: concurrency groups are a repository's own.
    pub repository_id: RepositoryId,
    /// Its branch.
    pub branch_id: BranchId,
    /// Its concurrency group.
    pub group: Option<Group>,
    /// It is not to start before.
    pub not_before_ms: i64,
    /// The reason that is stored for its waiting.
    pub waits: Option<String>,
    /// Since when it waits.
    pub queued_at_ms: i64,
}

/// The right to run a lane run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The lane run.
    pub id: LaneRunId,
    /// The token; unlike any other.
    pub token: String,
    /// The name of the run of `pikaci`, given before anything is spawned.
    pub run_id: RunId,
    /// The claim holds until then.
    pub lease_until_ms: i64,
}

/// Everything that is needed to run a claimed lane run, or to take it up again after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRunJob {
    /// The lane run.
    pub id: LaneRunId,
    /// Its repository.
    pub repository_id: RepositoryId,
    /// Its branch.
    pub branch_id: BranchId,
    /// That branch's name.
    pub branch: String,
    /// The commit to test.
    pub oid: String,
    /// The target to run.
    pub target: String,
    /// Its concurrency group.
    pub group: Option<Group>,
    /// The name of the run of `pikaci`.
    pub run_id: RunId,
    /// The token of the claim.
    pub token: String,
    /// The claim holds until then.
    pub lease_until_ms: i64,
    /// The run that is repeated.
    pub rerun_of: Option<RunId>,
    /// Whether only the failed jobs of that run are repeated.
    pub is_failed_only: bool,
    /// Whether it was asked to stop.
    pub is_cancel_requested: bool,
    /// Why it was asked to stop.
    pub cancel_message: Option<String>,
}

/// How a lane run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The lane run.
    pub id: LaneRunId,
    /// The token of the claim.
    pub token: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Whose fault it was.
    pub fault: Option<Fault>,
    /// What a reader should know beyond that.
    pub message: Option<String>,
    /// The delays before further attempts that follow one that the machinery lost; no more attempts than delays.
    pub retry_delays_ms: Vec<i64>,
    /// When.
    pub now_ms: i64,
}

/// An attempt that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttempt {
    /// The lane.
    pub lane_id: LaneId,
    /// Who asks.
    pub requested_by: String,
    /// The run that is repeated; `None`: the target is run afresh.
    pub rerun_of: Option<RunId>,
    /// Whether only the failed jobs of that run are repeated.
    pub is_failed_only: bool,
    /// When.
    pub now_ms: i64,
}

pub(super) const JOB: &str =
    "SELECT lane_run.id, head.branch_id, branch.repository_id, branch.name AS branch, head.oid,
    lane.target, lane.group_name, lane.group_size, lane_run.run_id, lane_run.claim, lane_run.lease_until_ms,
    lane_run.rerun_of, lane_run.is_failed_only, lane_run.is_cancel_requested, lane_run.cancel_message
    FROM lane_run JOIN lane ON lane.id = lane_run.lane_id JOIN head ON head.id = lane.head_id
    JOIN branch ON branch.id = head.branch_id";

// An index of a part of the table is used only by a question that repeats what the part is (partialindex.html of SQLite,
// section 3.1): without it, all that ever ran would be read to find what waits.
pub(super) const QUEUED: &str =
    "SELECT lane_run.id, branch.repository_id, head.branch_id, lane.group_name, lane.group_size,
    lane_run.not_before_ms, lane_run.waits, lane_run.queued_at_ms
    FROM lane_run JOIN lane ON lane.id = lane_run.lane_id JOIN head ON head.id = lane.head_id
    JOIN branch ON branch.id = head.branch_id
    WHERE lane_run.status <> 'finished' AND lane_run.status = 'queued'";
pub(super) const COUNT_QUEUED: &str =
    "SELECT COUNT(*) FROM lane_run WHERE status <> 'finished' AND status = 'queued'";
/// Waits or runs.
pub(super) const UNFINISHED: &str =
    "lane_run.status <> 'finished' AND lane_run.status IN ('queued', 'running')";
pub(super) const RUNNING: &str = "lane_run.status <> 'finished' AND lane_run.status = 'running'";

fn job(row: &Row<'_>) -> rusqlite::Result<LaneRunJob> {
    Ok(LaneRunJob {
        id: row.get("id")?,
        repository_id: row.get("repository_id")?,
        branch_id: row.get("branch_id")?,
        branch: row.get("branch")?,
        oid: row.get("oid")?,
        target: row.get("target")?,
        group: record::group(row)?,
        run_id: row.get::<_, StoredRunId>("run_id")?.0,
        token: row.get("claim")?,
        lease_until_ms: row.get("lease_until_ms")?,
        rerun_of: row.get::<_, Option<StoredRunId>>("rerun_of")?.map(|stored| stored.0),
        is_failed_only: row.get("is_failed_only")?,
        is_cancel_requested: row.get("is_cancel_requested")?,
        cancel_message: row.get("cancel_message")?,
    })
}

impl Store {
    /// Lists at most `limit` of the lane runs of these repositories that wait: the oldest of each, then the next of each, and so on.
    pub async fn list_queued(
        &self,
        repositories: Vec<RepositoryId>,
        limit: u32,
    ) -> Result<Vec<QueuedLaneRun>, StoreError> {
        self.read(move |transaction| {
            let marks = vec!["?"; repositories.len()].join(", ");
            let sql = format!(
                "WITH queued AS ({QUEUED} AND branch.repository_id IN ({marks}))
                 SELECT *, ROW_NUMBER() OVER (PARTITION BY repository_id ORDER BY id) AS turn FROM queued
                 ORDER BY turn, id LIMIT {limit}"
            );
            let ids = rusqlite::params_from_iter(repositories.iter().map(|id| id.0));
            record::list(transaction, &sql, ids, |row| {
                Ok(QueuedLaneRun {
                    id: row.get("id")?,
                    repository_id: row.get("repository_id")?,
                    branch_id: row.get("branch_id")?,
                    group: record::group(row)?,
                    not_before_ms: row.get("not_before_ms")?,
                    waits: row.get("waits")?,
                    queued_at_ms: row.get("queued_at_ms")?,
                })
            })
        })
        .await
    }

    /// Counts the lane runs that wait.
    pub async fn count_queued(&self) -> Result<u32, StoreError> {
        self.read(|transaction| {
            Ok(transaction.prepare_cached(COUNT_QUEUED)?.query_row([], |row| row.get(0))?)
        })
        .await
    }

    /// Claims lane runs that still wait and stores why others do. Returns what was claimed: somebody may have
    /// cancelled one meanwhile.
    pub async fn claim(
        &self,
        claims: Vec<Claim>,
        waits: Vec<(LaneRunId, String)>,
        now_ms: i64,
    ) -> Result<Vec<LaneRunJob>, StoreError> {
        self.write(move |transaction| {
            let mut jobs = Vec::with_capacity(claims.len());
            for claim in claims {
                let sql = "UPDATE lane_run SET status = 'running', claim = ?2, run_id = ?3, lease_until_ms = ?4,
                                               started_at_ms = ?5, waits = NULL WHERE id = ?1 AND status = 'queued'";
                let changed = transaction.prepare_cached(sql)?.execute(params![
                    claim.id,
                    claim.token,
                    claim.run_id.as_str(),
                    claim.lease_until_ms,
                    now_ms
                ])?;
                if changed == 1 {
                    jobs.push(transaction.prepare_cached(&format!("{JOB} WHERE lane_run.id = ?1"))?.query_row(
                        [claim.id],
                        job,
                    )?);
                }
            }
            for (id, reason) in waits {
                let sql = "UPDATE lane_run SET waits = ?2 WHERE id = ?1 AND status = 'queued'";
                transaction.prepare_cached(sql)?.execute(params![id, reason])?;
            }
            Ok(jobs)
        })
        .await
    }

    /// Lists the lane runs that are claimed.
    pub async fn list_running(&self) -> Result<Vec<LaneRunJob>, StoreError> {
        self.read(|transaction| {
            let sql = format!("{JOB} WHERE {RUNNING} ORDER BY lane_run.id");
            record::list(transaction, &sql, [], job)
        })
        .await
    }

    /// Takes over a claim whose holder is gone. `false`: it is no longer the claim of `old_token`.
    pub async fn take_over(
        &self,
        id: LaneRunId,
        old_token: &str,
        token: &str,
        lease_until_ms: i64,
    ) -> Result<bool, StoreError> {
        let (old_token, token) = (old_token.to_owned(), token.to_owned());
        self.write(move |transaction| {
            let changed = transaction.execute(
                "UPDATE lane_run SET claim = ?3, lease_until_ms = ?4
                 WHERE id = ?1 AND claim = ?2 AND status = 'running'",
                params![id, old_token, token, lease_until_ms],
            )?;
            Ok(changed == 1)
        })
        .await
    }

    /// Renews a lease, stores the process, and says whether the lane run is to stop. `None`: the claim is somebody
    /// else's now.
    pub async fn renew(
        &self,
        id: LaneRunId,
        token: &str,
        pid: Option<u32>,
        lease_until_ms: i64,
    ) -> Result<Option<Renewed>, StoreError> {
        let token = token.to_owned();
        self.write(move |transaction| {
            let sql = "UPDATE lane_run SET lease_until_ms = ?3, pid = COALESCE(?4, pid)
                       WHERE id = ?1 AND claim = ?2 AND status = 'running'
                       RETURNING is_cancel_requested, cancel_message";
            record::find(transaction, sql, params![id, token, lease_until_ms, pid], |row| {
                Ok(Renewed { is_cancel_requested: row.get(0)?, cancel_message: row.get(1)? })
            })
        })
        .await
    }

    /// Stores how a lane run ended, and queues what follows from it in the same transaction: a further attempt after
    /// a fault of the machinery, or a fresh one when its head has become the branch's head again. `None`: the claim
    /// is somebody else's; nothing was stored.
    pub async fn finish(&self, finish: Finish) -> Result<Option<Finished>, StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE lane_run SET status = 'finished', outcome = ?3, fault = ?4, message = ?5,
                                           finished_at_ms = ?6, lease_until_ms = NULL, pid = NULL
                       WHERE id = ?1 AND claim = ?2 AND status = 'running'
                       RETURNING lane_id, is_cancel_requested, is_superseded, rerun_of, is_failed_only, attempt,
                                 nightly_id";
            let parameters = params![
                finish.id,
                finish.token,
                finish.outcome.as_str(),
                finish.fault.as_ref().map(Fault::as_str),
                finish.message,
                finish.now_ms
            ];
            let ended = record::find(transaction, sql, parameters, |row| {
                Ok(Ended {
                    lane: row.get(0)?,
                    is_cancel_requested: row.get(1)?,
                    is_superseded: row.get(2)?,
                    rerun_of: row.get(3)?,
                    is_failed_only: row.get(4)?,
                    attempt: row.get(5)?,
                    nightly: row.get(6)?,
                })
            })?;
            ended.map(|ended| follow_up(transaction, &finish, &ended)).transpose()
        })
        .await
    }

    /// Cancels a lane run: at once when it waits, by a mark when it runs.
    pub async fn request_cancel(
        &self,
        id: LaneRunId,
        message: &str,
        now_ms: i64,
    ) -> Result<CancelEffect, StoreError> {
        let message = message.to_owned();
        self.write(move |transaction| {
            let cancelled = transaction.execute(
                "UPDATE lane_run SET status = 'finished', outcome = 'cancelled', fault = 'user', message = ?2,
                                     waits = NULL, finished_at_ms = ?3 WHERE id = ?1 AND status = 'queued'",
                params![id, message, now_ms],
            )?;
            if cancelled == 1 {
                return Ok(CancelEffect::WasQueued);
            }
            let marked = transaction.execute(
                "UPDATE lane_run SET is_cancel_requested = 1, cancel_message = COALESCE(cancel_message, ?2)
                 WHERE id = ?1 AND status = 'running'",
                params![id, message],
            )?;
            Ok(if marked == 1 { CancelEffect::Running } else { CancelEffect::AlreadyFinished })
        })
        .await
    }

    /// Queues an attempt that somebody asks for. `None`: the latest attempt is not finished.
    pub async fn add_attempt(&self, new: NewAttempt) -> Result<Option<LaneRunId>, StoreError> {
        self.write(move |transaction| {
            let sql = "SELECT COUNT(*) FROM lane_run WHERE lane_id = ?1 AND status <> 'finished'";
            let unfinished: u32 = transaction.query_row(sql, [new.lane_id], |row| row.get(0))?;
            if unfinished > 0 {
                return Ok(None);
            }
            let attempt = QueuedAttempt {
                lane: new.lane_id,
                cause: if new.is_failed_only { "rerun-failed" } else { "rerun" },
                requested_by: Some(&new.requested_by),
                rerun_of: new.rerun_of.as_ref().map(RunId::as_str),
                is_failed_only: new.is_failed_only,
                not_before_ms: 0,
                nightly: None,
                now_ms: new.now_ms,
            };
            insert_attempt(transaction, &attempt).map(Some)
        })
        .await
    }

    /// Finds the lane of a lane run, with its head and all its attempts, the latest first.
    pub async fn find_lane_of(
        &self,
        id: LaneRunId,
    ) -> Result<Option<(LaneRecord, Vec<LaneRunRecord>)>, StoreError> {
        self.read(move |transaction| {
            let sql = format!(
                "SELECT {LANE_COLUMNS} FROM lane WHERE id = (SELECT lane_id FROM lane_run WHERE id = ?1)"
            );
            let Some(lane) = record::find(transaction, &sql, [id], record::lane)? else { return Ok(None) };
            let attempts = list_attempts(transaction, lane.id)?;
            Ok(Some((lane, attempts)))
        })
        .await
    }

    /// Finds the head, branch and repository of a lane.
    pub async fn find_place(&self, head: HeadId) -> Result<Option<(BranchId, RepositoryId)>, StoreError> {
        self.read(move |transaction| {
            let sql =
                "SELECT branch.id, branch.repository_id FROM head JOIN branch ON branch.id = head.branch_id
                       WHERE head.id = ?1";
            record::find(transaction, sql, [head], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }

    /// Finds the repository that a run of `pikaci` belongs to.
    pub async fn find_repository_of_run(&self, run: &RunId) -> Result<Option<RepositoryId>, StoreError> {
        let run = run.as_str().to_owned();
        self.look_up(move |transaction| {
            let sql = "SELECT branch.repository_id FROM lane_run JOIN lane ON lane.id = lane_run.lane_id
                       JOIN head ON head.id = lane.head_id JOIN branch ON branch.id = head.branch_id
                       WHERE lane_run.run_id = ?1";
            record::find(transaction, sql, [run], |row| row.get(0))
        })
        .await
    }
}

/// What the holder of a claim learns when it renews its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Whether somebody asked to stop it.
    pub is_cancel_requested: bool,
    /// Why.
    pub cancel_message: Option<String>,
}

/// What finishing a lane run led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which attempt at its lane it was, from 1.
    pub attempt: u32,
    /// The attempt that follows, if one was queued.
    pub next: Option<LaneRunId>,
}

/// What asking for a stop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelEffect {
    /// It waited, and is cancelled.
    WasQueued,
    /// It runs, and is marked.
    Running,
    /// It was over already.
    AlreadyFinished,
}

struct Ended {
    lane: LaneId,
    is_cancel_requested: bool,
    is_superseded: bool,
    rerun_of: Option<String>,
    is_failed_only: bool,
    attempt: u32,
    nightly: Option<i64>,
}

fn follow_up(transaction: &Transaction<'_>, finish: &Finish, ended: &Ended) -> Result<Finished, StoreError> {
    let queue = |attempt: QueuedAttempt<'_>| insert_attempt(transaction, &attempt).map(Some);
    let next = if ended.is_superseded && finish.outcome == Outcome::Cancelled {
        let is_head_again = is_current_head(transaction, ended.lane)?;
        if is_head_again { queue(QueuedAttempt::of_push(ended.lane, finish.now_ms))? } else { None }
    } else if finish.fault == Some(Fault::Infra) && !ended.is_cancel_requested {
        let tried = count_retries(transaction, ended.lane)?;
        match finish.retry_delays_ms.get(tried as usize) {
            Some(delay_ms) => queue(QueuedAttempt {
                lane: ended.lane,
                cause: "retry",
                requested_by: None,
                rerun_of: ended.rerun_of.as_deref(),
                is_failed_only: ended.is_failed_only,
                not_before_ms: finish.now_ms + delay_ms,
                nightly: ended.nightly,
                now_ms: finish.now_ms,
            })?,
            None => None,
        }
    } else {
        None
    };
    Ok(Finished { attempt: ended.attempt, next })
}

fn is_current_head(transaction: &Transaction<'_>, lane: LaneId) -> Result<bool, StoreError> {
    let sql = "SELECT branch.head_id = head.id AND branch.state = 'open' FROM lane
               JOIN head ON head.id = lane.head_id JOIN branch ON branch.id = head.branch_id WHERE lane.id = ?1";
    Ok(transaction.query_row(sql, [lane], |row| row.get(0))?)
}

/// Counts the retries since the last attempt that a push or a person asked for.
fn count_retries(transaction: &Transaction<'_>, lane: LaneId) -> Result<u32, StoreError> {
    let sql = "SELECT COUNT(*) FROM lane_run WHERE lane_id = ?1 AND attempt >
               (SELECT MAX(attempt) FROM lane_run WHERE lane_id = ?1 AND cause <> 'retry')";
    Ok(transaction.query_row(sql, [lane], |row| row.get(0))?)
}
