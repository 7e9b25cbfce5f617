//! Fills a database with made-up history, so that benches find out how the forge behaves when it is old.

use rusqlite::params;

use super::{Store, StoreError};
use crate::forge::id::RepositoryId;

/// Heads of each branch, and lanes of each head.
const HEADS_PER_BRANCH: i64 = 20;
const LANES_PER_HEAD: i64 = 2;

/// How much history is made up, and what its latest heads point at.
#[derive(Clone, Debug)]
pub struct SampleHistory {
    /// How many branches, named `old-<number>`.
    pub branches: i64,
    /// How many attempts at each lane; a branch has 20 heads of two lanes each.
    pub attempts_per_lane: i64,
    /// The commit of each branch's latest head.
    pub head_oid: String,
    /// The merge base of that.
    pub base_oid: String,
}

impl Store {
    /// Adds the history to a repository. Attempt `n`, from 1, names the run `20260301T000000Z-` and `n` as eight hex digits.
    #[doc(hidden)]
    pub async fn add_sample_history(
        &self,
        repository: RepositoryId,
        sample: SampleHistory,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let first: i64 =
                transaction.query_row("SELECT COALESCE(MAX(id), 0) + 1 FROM branch", [], |row| row.get(0))?;
            let numbers = "WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < ?1 - 1)";
            transaction.execute(
                &format!(
                    "{numbers} INSERT INTO branch (id, repository_id, name, state, updated_at_ms)
                     SELECT ?2 + n, ?3, 'old-' || n, CASE n % 10 WHEN 0 THEN 'merged' ELSE 'open' END, 1000000 + n
                     FROM number"
                ),
                params![sample.branches, first, repository],
            )?;
            let heads = sample.branches * HEADS_PER_BRANCH;
            let first_head: i64 =
                transaction.query_row("SELECT COALESCE(MAX(id), 0) + 1 FROM head", [], |row| row.get(0))?;
            transaction.execute(
                &format!(
                    "{numbers} INSERT INTO head (id, branch_id, oid, base_oid, is_orphan, subject, author, selection,
                         pushed_by, pushed_at_ms)
                     SELECT ?2 + n, ?3 + n / ?4, CASE n % ?4 WHEN ?4 - 1 THEN ?5 ELSE printf('%040x', n) END, ?6, 0,
                         'Change number ' || n, 'Ada', 'selected', 'ada', 1000000 + n FROM number"
                ),
                params![heads, first_head, first, HEADS_PER_BRANCH, sample.head_oid, sample.base_oid],
            )?;
            transaction.execute(
                "UPDATE branch SET head_id = (SELECT MAX(id) FROM head WHERE branch_id = branch.id) WHERE id >= ?1",
                [first],
            )?;
            let lanes = heads * LANES_PER_HEAD;
            let first_lane: i64 =
                transaction.query_row("SELECT COALESCE(MAX(id), 0) + 1 FROM lane", [], |row| row.get(0))?;
            transaction.execute(
                &format!(
                    "{numbers} INSERT INTO lane (id, head_id, position, target, title, is_required, kind)
                     SELECT ?2 + n, ?3 + n / ?4, n % ?4, CASE n % ?4 WHEN 0 THEN 'check' ELSE 'lint' END, 'A lane', 1,
                         'selected' FROM number"
                ),
                params![lanes, first_lane, first_head, LANES_PER_HEAD],
            )?;
            transaction.execute(
                &format!(
                    "{numbers} INSERT INTO lane_run (lane_id, attempt, cause, status, run_id, outcome, fault,
                         queued_at_ms, started_at_ms, finished_at_ms)
                     SELECT ?2 + n / ?3, n % ?3 + 1, 'push', 'finished', printf('20260301T000000Z-%08x', n + 1),
                         CASE n % 3 WHEN 0 THEN 'failed' ELSE 'passed' END, CASE n % 3 WHEN 0 THEN 'job' END,
                         1000000 + n, 1000001 + n, 1000002 + n FROM number"
                ),
                params![lanes * sample.attempts_per_lane, first_lane, sample.attempts_per_lane],
            )?;
            Ok(())
        })
        .await
    }
}
