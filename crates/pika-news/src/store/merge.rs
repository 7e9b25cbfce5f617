//! Merge intents: written before a ref moves, closed after it has moved or has turned out not to.

use rusqlite::{Row, params};

use super::record;
use super::{Store, StoreError};
use crate::forge::id::{BranchId, MergeId, RepositoryId};
use crate::forge::state::BranchState;

/// A merge that is about to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMerge {
    /// The branch.
    pub branch_id: BranchId,
    /// The head that is merged.
    pub head_oid: String,
    /// The branch that it is merged into.
    pub target: String,
    /// Where that branch was.
    pub target_oid: String,
    /// The merge commit, not referenced yet.
    pub merge_oid: String,
    /// Who asked for it.
    pub actor: String,
    /// When.
    pub now_ms: i64,
}

/// A merge whose outcome is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeIntent {
    /// Its number.
    pub id: MergeId,
    /// The branch.
    pub branch_id: BranchId,
    /// The repository.
    pub repository_id: RepositoryId,
    /// The branch that it is merged into.
    pub target: String,
    /// The merge commit.
    pub merge_oid: String,
}

fn intent(row: &Row<'_>) -> rusqlite::Result<MergeIntent> {
    Ok(MergeIntent {
        id: row.get(0)?,
        branch_id: row.get(1)?,
        repository_id: row.get(2)?,
        target: row.get(3)?,
        merge_oid: row.get(4)?,
    })
}

impl Store {
    /// Writes a merge down before it is done. A branch has at most one that is pending.
    pub async fn begin_merge(&self, new: NewMerge) -> Result<MergeId, StoreError> {
        self.write(move |transaction| {
            transaction.execute(
                "INSERT INTO merge_intent (branch_id, head_oid, target, target_oid, merge_oid, actor, state, created_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending', ?7)",
                params![
                    new.branch_id, new.head_oid, new.target, new.target_oid, new.merge_oid, new.actor, new.now_ms
                ],
            )?;
            Ok(MergeId(transaction.last_insert_rowid()))
        })
        .await
    }

    /// Stores that a merge is on its target: the branch is merged.
    pub async fn finish_merge(&self, merge: MergeId, now_ms: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE merge_intent SET state = 'merged', finished_at_ms = ?2
                       WHERE id = ?1 AND state = 'pending' RETURNING branch_id, merge_oid";
            let found = record::find(transaction, sql, params![merge, now_ms], |row| {
                Ok((row.get::<_, BranchId>(0)?, row.get::<_, String>(1)?))
            })?;
            if let Some((branch, merge_oid)) = found {
                let sql = "UPDATE branch SET state = ?2, merge_oid = ?3, updated_at_ms = ?4 WHERE id = ?1";
                transaction.execute(sql, params![branch, BranchState::Merged, merge_oid, now_ms])?;
            }
            Ok(())
        })
        .await
    }

    /// Stores that a merge was not done.
    pub async fn fail_merge(&self, merge: MergeId, message: &str, now_ms: i64) -> Result<(), StoreError> {
        let message = message.to_owned();
        self.write(move |transaction| {
            transaction.execute(
                "UPDATE merge_intent SET state = 'failed', message = ?2, finished_at_ms = ?3
                 WHERE id = ?1 AND state = 'pending'",
                params![merge, message, now_ms],
            )?;
            Ok(())
        })
        .await
    }

    /// Lists the merges of a repository that a restart may have interrupted.
    pub async fn list_pending_merges(
        &self,
        repository: RepositoryId,
    ) -> Result<Vec<MergeIntent>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT merge_intent.id, branch_id, repository_id, target, merge_intent.merge_oid
                       FROM merge_intent JOIN branch ON branch.id = branch_id
                       WHERE merge_intent.state = 'pending' AND repository_id = ?1 ORDER BY merge_intent.id";
            record::list(transaction, sql, [repository], intent)
        })
        .await
    }
}
