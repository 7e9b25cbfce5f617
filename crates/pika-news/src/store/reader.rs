//! What a reader of a branch has seen: steps ticked off, and the head that they last looked at.

use std::collections::HashSet;

use rusqlite::params;

use super::record;
use super::{Store, StoreError};
use crate::forge::id::{BranchId, HeadId};

impl Store {
    /// Lists the steps of a branch that a user has ticked off.
    pub async fn list_ticks(&self, user: i64, branch: BranchId) -> Result<HashSet<String>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT step_key FROM tutorial_tick WHERE user_id = ?1 AND branch_id = ?2";
            let keys: Vec<String> = record::list(transaction, sql, params![user, branch], |row| row.get(0))?;
            Ok(keys.into_iter().collect())
        })
        .await
    }

    /// Ticks a step off for a user, or takes that back.
    pub async fn set_tick(
        &self,
        user: i64,
        branch: BranchId,
        step_key: &str,
        is_ticked: bool,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let step_key = step_key.to_owned();
        self.write(move |transaction| {
            if is_ticked {
                let sql = "INSERT INTO tutorial_tick (user_id, branch_id, step_key, ticked_at_ms)
                           VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
                transaction.execute(sql, params![user, branch, step_key, now_ms])?;
            } else {
                let sql = "DELETE FROM tutorial_tick WHERE user_id = ?1 AND branch_id = ?2 AND step_key = ?3";
                transaction.execute(sql, params![user, branch, step_key])?;
            }
            Ok(())
        })
        .await
    }

    /// Finds which head of a branch a user saw last, and which before that.
    pub async fn find_look(
        &self,
        user: i64,
        branch: BranchId,
    ) -> Result<Option<(HeadId, Option<HeadId>)>, StoreError> {
        self.read(move |transaction| {
            let sql =
                "SELECT head_id, previous_head_id FROM branch_look WHERE user_id = ?1 AND branch_id = ?2";
            record::find(transaction, sql, params![user, branch], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }

    /// Notes that a user looks at a head. The head that they saw before it is kept beside it.
    pub async fn note_look(
        &self,
        user: i64,
        branch: BranchId,
        head: HeadId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let sql = "INSERT INTO branch_look (user_id, branch_id, head_id, looked_at_ms) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (user_id, branch_id) DO UPDATE
                       SET previous_head_id = head_id, head_id = excluded.head_id, looked_at_ms = excluded.looked_at_ms
                       WHERE head_id <> excluded.head_id";
            transaction.execute(sql, params![user, branch, head, now_ms])?;
            Ok(())
        })
        .await
    }

    /// Notes that a user has seen what changed: nothing is shown as new until the next head.
    pub async fn note_seen(
        &self,
        user: i64,
        branch: BranchId,
        head: HeadId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let sql = "INSERT INTO branch_look (user_id, branch_id, head_id, looked_at_ms) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (user_id, branch_id) DO UPDATE
                       SET previous_head_id = NULL, head_id = excluded.head_id, looked_at_ms = excluded.looked_at_ms";
            transaction.execute(sql, params![user, branch, head, now_ms])?;
            Ok(())
        })
        .await
    }
}
