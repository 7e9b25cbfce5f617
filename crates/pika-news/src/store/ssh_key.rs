//! SSH keys: what a user's client proves that it has.
//!
//! Invariant: one key stands for one user; a query that finds a user by a key leaves out the disabled.

use rusqlite::params;

use super::identity::{USER_COLUMNS, has_as_many, identified, user};
use super::record::{find, list};
use super::{AddedCredential, Identified, Store, StoreError, audit};
use crate::auth::{Audit, Scopes, SshKey};

/// A key that is to be stored.
#[derive(Clone, Debug)]
pub struct NewSshKey {
    /// Whose it is.
    pub user_id: i64,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Kind and base64.
    pub public_key: String,
    /// What its owner calls it.
    pub comment: String,
}

impl Store {
    /// Adds a key, if its user has fewer than `max`, and writes that down.
    pub async fn add_ssh_key(
        &self,
        new: NewSshKey,
        max: u32,
        entry: Audit,
        now_ms: i64,
    ) -> Result<AddedCredential, StoreError> {
        self.write(move |transaction| {
            let sql = "SELECT id FROM ssh_key WHERE fingerprint = ?1";
            if find(transaction, sql, [&new.fingerprint], |row| row.get::<_, i64>(0))?.is_some() {
                return Ok(AddedCredential::Taken);
            }
            if has_as_many(transaction, "ssh_key", new.user_id, max)? {
                return Ok(AddedCredential::TooMany);
            }
            let added = transaction.execute(
                "INSERT INTO ssh_key (user_id, fingerprint, public_key, comment, created_at_ms)
                 SELECT id, ?2, ?3, ?4, ?5 FROM user WHERE id = ?1 AND NOT is_disabled",
                params![new.user_id, new.fingerprint, new.public_key, new.comment, now_ms],
            )?;
            if added == 0 {
                return Ok(AddedCredential::NoUser);
            }
            let id = transaction.last_insert_rowid();
            audit::add(transaction, &entry, now_ms)?;
            Ok(AddedCredential::Added(id))
        })
        .await
    }

    /// Finds whom a key stands for, and when its use was last noted.
    pub async fn find_ssh_key_user(&self, fingerprint: String) -> Result<Option<Identified>, StoreError> {
        self.look_up(move |transaction| {
            let sql = format!(
                "SELECT {USER_COLUMNS}, used_at_ms FROM ssh_key JOIN user ON user.id = user_id
                 WHERE fingerprint = ?1 AND NOT is_disabled"
            );
            let found = find(transaction, &sql, [fingerprint], |row| {
                Ok((user(row)?, Scopes::all(), row.get("used_at_ms")?))
            })?;
            identified(transaction, found)
        })
        .await
    }

    /// Notes the use of a key.
    pub async fn note_ssh_key_use(&self, fingerprint: String, now_ms: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE ssh_key SET used_at_ms = ?2 WHERE fingerprint = ?1";
            transaction.execute(sql, params![fingerprint, now_ms])?;
            Ok(())
        })
        .await
    }

    /// Lists a user's keys, the newest first.
    pub async fn list_ssh_keys(&self, user_id: i64) -> Result<Vec<SshKey>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT id, fingerprint, public_key, comment, created_at_ms, used_at_ms FROM ssh_key
                 WHERE user_id = ?1 ORDER BY id DESC";
            list(transaction, sql, [user_id], |row| {
                Ok(SshKey {
                    id: row.get("id")?,
                    fingerprint: row.get("fingerprint")?,
                    public_key: row.get("public_key")?,
                    comment: row.get("comment")?,
                    created_at_ms: row.get("created_at_ms")?,
                    used_at_ms: row.get("used_at_ms")?,
                })
            })
        })
        .await
    }

    /// Removes a user's key, and writes that down; `false` when they have none of that number.
    pub async fn remove_ssh_key(
        &self,
        user_id: i64,
        key: i64,
        entry: Audit,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let removed =
                transaction.execute("DELETE FROM ssh_key WHERE id = ?1 AND user_id = ?2", [key, user_id])?;
            if removed > 0 {
                audit::add(transaction, &entry, now_ms)?;
            }
            Ok(removed > 0)
        })
        .await
    }
}
