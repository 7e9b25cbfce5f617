//! Repositories and their branches.

use rusqlite::params;

use super::head::{HeadWithLanes, Superseded, head_with_lanes, supersede};
use super::record::{self, BRANCH_COLUMNS};
use super::{BranchRecord, Store, StoreError};
use crate::forge::id::{BranchId, LaneRunId, RepositoryId};
use crate::forge::state::BranchState;
use crate::forge::view::{BranchCounts, BranchFilter};

/// Where a branch was when the forge last looked; what reconciling compares with git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchHead {
    /// Its number.
    pub id: BranchId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: BranchState,
    /// The commit that it points at.
    pub oid: String,
}

impl Store {
    /// Finds a repository's number, or gives it one.
    pub async fn ensure_repository(&self, name: &str, now_ms: i64) -> Result<RepositoryId, StoreError> {
        let name = name.to_owned();
        self.write(move |transaction| {
            transaction.execute(
                "INSERT INTO repository (name, created_at_ms) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                params![name, now_ms],
            )?;
            let sql = "SELECT id FROM repository WHERE name = ?1";
            Ok(transaction.query_row(sql, [name], |row| row.get(0))?)
        })
        .await
    }

    /// Finds a branch by its number.
    pub async fn find_branch(&self, branch: BranchId) -> Result<Option<BranchRecord>, StoreError> {
        self.read(move |transaction| {
            let sql = format!("SELECT {BRANCH_COLUMNS} FROM branch WHERE id = ?1 AND head_id IS NOT NULL");
            record::find(transaction, &sql, [branch], record::branch)
        })
        .await
    }

    /// Finds a branch by its name.
    pub async fn find_branch_named(
        &self,
        repository: RepositoryId,
        name: &str,
    ) -> Result<Option<BranchRecord>, StoreError> {
        let name = name.to_owned();
        self.read(move |transaction| {
            let sql = format!(
                "SELECT {BRANCH_COLUMNS} FROM branch
                 WHERE repository_id = ?1 AND name = ?2 AND head_id IS NOT NULL"
            );
            record::find(transaction, &sql, params![repository, name], record::branch)
        })
        .await
    }

    /// Lists branches with their heads, the default branch first, then the latest change first.
    pub async fn list_branches(
        &self,
        repository: RepositoryId,
        default_branch: &str,
        filter: BranchFilter,
    ) -> Result<Vec<(BranchRecord, HeadWithLanes)>, StoreError> {
        let default_branch = default_branch.to_owned();
        self.read(move |transaction| {
            let mut rows = Vec::new();
            let (mut limit, mut offset) = (filter.limit, filter.offset);
            // It belongs to all that is open, however old it is, and is looked up apart: an order that begins with it could
            // not follow an index.
            if matches!(filter.state, None | Some(BranchState::Open)) {
                let sql = format!(
                    "SELECT {BRANCH_COLUMNS} FROM branch
                     WHERE repository_id = ?1 AND name = ?2 AND head_id IS NOT NULL"
                );
                let found =
                    record::find(transaction, &sql, params![repository, default_branch], record::branch)?;
                if found.is_some() && offset > 0 {
                    offset -= 1;
                } else if let Some(found) = found.filter(|_| limit > 0) {
                    rows.push(found);
                    limit -= 1;
                }
            }
            let states = match filter.state {
                None => "1",
                Some(BranchState::Open) => "state = 'open'",
                Some(BranchState::Merged) => "state = 'merged'",
                Some(BranchState::Closed | BranchState::Deleted) => "state IN ('closed', 'deleted')",
            };
            let sql = format!(
                "SELECT {BRANCH_COLUMNS} FROM branch
                 WHERE repository_id = ?1 AND name <> ?2 AND head_id IS NOT NULL AND {states}
                 ORDER BY updated_at_ms DESC, id DESC LIMIT ?3 OFFSET ?4"
            );
            rows.extend(record::list(
                transaction,
                &sql,
                params![repository, default_branch, limit, offset],
                record::branch,
            )?);
            rows.into_iter()
                .map(|branch| {
                    let head = head_with_lanes(transaction, branch.head_id)?;
                    Ok((branch, head))
                })
                .collect()
        })
        .await
    }

    /// Counts branches by state, without the default branch, and says when one last changed.
    pub async fn count_branches(
        &self,
        repository: RepositoryId,
        default_branch: &str,
    ) -> Result<(BranchCounts, Option<i64>), StoreError> {
        let default_branch = default_branch.to_owned();
        self.read(move |transaction| {
            // All but the default branch's own state is read along the index of states, without the branches themselves.
            let sql = "WITH of_state (state, count, changed) AS
                           (SELECT state, COUNT(*), MAX(updated_at_ms) FROM branch
                            WHERE repository_id = ?1 GROUP BY state),
                       others (state, count, changed) AS
                           (SELECT state, count - (SELECT COUNT(*) FROM branch WHERE repository_id = ?1 AND name = ?2
                                                   AND branch.state = of_state.state), changed FROM of_state)
                       SELECT COALESCE(SUM(count) FILTER (WHERE state = 'open'), 0),
                              COALESCE(SUM(count) FILTER (WHERE state = 'merged'), 0),
                              COALESCE(SUM(count) FILTER (WHERE state IN ('closed', 'deleted')), 0),
                              MAX(changed)
                       FROM others";
            Ok(transaction.prepare_cached(sql)?.query_row(params![repository, default_branch], |row| {
                let counts = BranchCounts { open: row.get(0)?, merged: row.get(1)?, closed: row.get(2)? };
                Ok((counts, row.get(3)?))
            })?)
        })
        .await
    }

    /// Lists where every branch of a repository was when the forge last looked.
    pub async fn list_branch_heads(&self, repository: RepositoryId) -> Result<Vec<BranchHead>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT branch.id, branch.name, branch.state, head.oid FROM branch
                       JOIN head ON head.id = branch.head_id WHERE branch.repository_id = ?1";
            record::list(transaction, sql, [repository], |row| {
                Ok(BranchHead { id: row.get(0)?, name: row.get(1)?, state: row.get(2)?, oid: row.get(3)? })
            })
        })
        .await
    }

    /// Closes a branch that is open at this head, and stops its lanes. Returns those that run; `None` when it is not.
    pub async fn close_branch_at(
        &self,
        branch: BranchId,
        head_oid: &str,
        now_ms: i64,
    ) -> Result<Option<Vec<LaneRunId>>, StoreError> {
        let head_oid = head_oid.to_owned();
        self.write(move |transaction| {
            let changed = transaction.execute(
                "UPDATE branch SET state = 'closed', updated_at_ms = ?3 WHERE id = ?1 AND state = 'open'
                 AND head_id IN (SELECT id FROM head WHERE oid = ?2)",
                params![branch, head_oid, now_ms],
            )?;
            if changed == 0 {
                return Ok(None);
            }
            let message = "the branch was closed";
            supersede(transaction, &Superseded { branch, except: None, message, now_ms }).map(Some)
        })
        .await
    }

    /// Opens a closed branch again at this head; `false` when it is not one. Its lanes stay as they were stopped.
    pub async fn reopen_branch_at(
        &self,
        branch: BranchId,
        head_oid: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let head_oid = head_oid.to_owned();
        self.write(move |transaction| {
            let changed = transaction.execute(
                "UPDATE branch SET state = 'open', updated_at_ms = ?3 WHERE id = ?1 AND state = 'closed'
                 AND head_id IN (SELECT id FROM head WHERE oid = ?2)",
                params![branch, head_oid, now_ms],
            )?;
            Ok(changed > 0)
        })
        .await
    }

    /// Closes a branch or notes that it is gone from git, and stops its lanes. Returns those that run.
    ///
    /// A merged branch stays merged.
    pub async fn end_branch(
        &self,
        branch: BranchId,
        state: BranchState,
        now_ms: i64,
    ) -> Result<Vec<LaneRunId>, StoreError> {
        self.write(move |transaction| {
            let changed = transaction.execute(
                "UPDATE branch SET state = ?2, updated_at_ms = ?3 WHERE id = ?1 AND state IN ('open', 'closed')
                 AND state <> ?2",
                params![branch, state, now_ms],
            )?;
            if changed == 0 {
                return Ok(Vec::new());
            }
            let message = format!("the branch was {state}");
            supersede(transaction, &Superseded { branch, except: None, message: &message, now_ms })
        })
        .await
    }
}
