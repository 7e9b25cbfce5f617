//! Users as those see them who decide about them.
//!
//! Invariant: there is always an administrator who may sign in, once there was one.

use rusqlite::{Transaction, params};

use super::record::{find, list};
use super::{Store, StoreError, audit};
use crate::auth::{Account, Audit};

impl Store {
    /// Makes a user, and writes that down; `false` when there is one of that name.
    pub async fn add_user(
        &self,
        name: String,
        is_admin: bool,
        entry: Audit,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let added = transaction.execute(
                "INSERT INTO user (name, is_admin, created_at_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                params![name, is_admin, now_ms],
            )?;
            if added > 0 {
                audit::add(transaction, &entry, now_ms)?;
            }
            Ok(added > 0)
        })
        .await
    }

    /// Lists the users by name, after a name.
    pub async fn list_users(&self, after: Option<String>, limit: u32) -> Result<Vec<Account>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT id, name, is_admin, is_disabled, created_at_ms FROM user
                 WHERE name > ?1 ORDER BY name LIMIT ?2";
            list(transaction, sql, params![after.unwrap_or_default(), limit], account)
        })
        .await
    }

    /// Finds a user by their name, disabled or not.
    pub async fn find_user(&self, name: String) -> Result<Option<Account>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT id, name, is_admin, is_disabled, created_at_ms FROM user WHERE name = ?1";
            find(transaction, sql, [name], account)
        })
        .await
    }

    /// Makes a user an administrator of the forge or takes that away; `false` when it would leave none.
    pub async fn set_administrator(
        &self,
        user_id: i64,
        is_admin: bool,
        entry: Audit,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            if !is_admin && is_last_administrator(transaction, user_id)? {
                return Ok(false);
            }
            transaction.execute("UPDATE user SET is_admin = ?2 WHERE id = ?1", params![user_id, is_admin])?;
            audit::add(transaction, &entry, now_ms)?;
            Ok(true)
        })
        .await
    }

    /// Whether without this user nobody could administer the forge.
    pub async fn is_last_administrator(&self, user_id: i64) -> Result<bool, StoreError> {
        self.read(move |transaction| is_last_administrator(transaction, user_id)).await
    }

    /// Removes a user with all that stands for them; what they did keeps their name. `false` when it would leave no
    /// administrator.
    pub async fn remove_user(&self, user_id: i64, entry: Audit, now_ms: i64) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            if is_last_administrator(transaction, user_id)? {
                return Ok(false);
            }
            transaction.execute("DELETE FROM user WHERE id = ?1", [user_id])?;
            audit::add(transaction, &entry, now_ms)?;
            Ok(true)
        })
        .await
    }
}

/// Whether without this user nobody could administer the forge.
fn is_last_administrator(transaction: &Transaction<'_>, user_id: i64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM user WHERE id = ?1 AND is_admin AND NOT is_disabled)
         AND NOT EXISTS (SELECT 1 FROM user WHERE id <> ?1 AND is_admin AND NOT is_disabled)";
    Ok(transaction.query_row(sql, [user_id], |row| row.get(0))?)
}

fn account(row: &rusqlite::Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: row.get("id")?,
        name: row.get("name")?,
        is_admin: row.get("is_admin")?,
        is_disabled: row.get("is_disabled")?,
        created_at_ms: row.get("created_at_ms")?,
    })
}
