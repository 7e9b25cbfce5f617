//! Sealed secrets, and whether a lane's author may be given them.

use rusqlite::params;
use serde::Serialize;

use super::record::{find, list};
use super::{Store, StoreError};
use crate::auth::{Audit, Role};
use crate::forge::id::{LaneRunId, RepositoryId};
use crate::secrets::SealedSecret;

/// A secret as it is listed: never its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// When it was set, in milliseconds since the Unix epoch.
    pub updated_at_ms: i64,
    /// Who set it.
    pub updated_by: String,
}

impl Store {
    /// Sets a secret, in place of the one of that name, and writes that down.
    pub async fn set_secret(
        &self,
        repository: RepositoryId,
        name: String,
        sealed: SealedSecret,
        audit: Audit,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction.execute(
                "INSERT INTO secret (repository_id, name, nonce, ciphertext, key_id, updated_at_ms, updated_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET nonce = excluded.nonce, ciphertext = excluded.ciphertext,
                     key_id = excluded.key_id, updated_at_ms = excluded.updated_at_ms,
                     updated_by = excluded.updated_by",
                params![
                    repository,
                    name,
                    sealed.nonce,
                    sealed.ciphertext,
                    sealed.key_id,
                    now_ms,
                    audit.actor
                ],
            )?;
            super::audit::add(transaction, &audit, now_ms)
        })
        .await
    }

    /// Removes a secret, and writes that down; `false` when there is none of that name.
    pub async fn remove_secret(
        &self,
        repository: RepositoryId,
        name: String,
        audit: Audit,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let sql = "DELETE FROM secret WHERE repository_id = ?1 AND name = ?2";
            let removed = transaction.execute(sql, params![repository, name])? > 0;
            if removed {
                super::audit::add(transaction, &audit, now_ms)?;
            }
            Ok(removed)
        })
        .await
    }

    /// Lists a repository's secrets by name, without their content.
    pub async fn list_secrets(&self, repository: RepositoryId) -> Result<Vec<SecretRow>, StoreError> {
        self.read(move |transaction| {
            let sql =
                "SELECT name, updated_at_ms, updated_by FROM secret WHERE repository_id = ?1 ORDER BY name";
            list(transaction, sql, [repository], |row| {
                Ok(SecretRow {
                    name: row.get("name")?,
                    updated_at_ms: row.get("updated_at_ms")?,
                    updated_by: row.get("updated_by")?,
                })
            })
        })
        .await
    }

    /// Finds a sealed secret.
    pub async fn find_secret(
        &self,
        repository: RepositoryId,
        name: String,
    ) -> Result<Option<SealedSecret>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT nonce, ciphertext, key_id FROM secret WHERE repository_id = ?1 AND name = ?2";
            find(transaction, sql, params![repository, name], |row| {
                Ok(SealedSecret {
                    nonce: row.get("nonce")?,
                    ciphertext: row.get("ciphertext")?,
                    key_id: row.get("key_id")?,
                })
            })
        })
        .await
    }

    /// Finds who pushed the head that a lane run tests, if they may push now: an administrator, or somebody whose role in the
    /// repository is at least `write`, and whose account is not disabled. A push that nobody is known for is nobody's.
    pub async fn find_trusted_author(&self, lane_run: LaneRunId) -> Result<Option<String>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT user.name, user.is_admin, membership.role FROM lane_run
                 JOIN lane ON lane.id = lane_run.lane_id JOIN head ON head.id = lane.head_id
                 JOIN branch ON branch.id = head.branch_id JOIN user ON user.name = head.pushed_by
                 LEFT JOIN membership ON membership.user_id = user.id
                     AND membership.repository_id = branch.repository_id
                 WHERE lane_run.id = ?1 AND NOT user.is_disabled";
            let found = find(transaction, sql, [lane_run], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?, row.get::<_, Option<String>>(2)?))
            })?;
            Ok(found.and_then(|(name, is_admin, role)| {
                let role = role.as_deref().and_then(Role::parse);
                (is_admin || role.is_some_and(|role| role >= Role::Write)).then_some(name)
            }))
        })
        .await
    }
}
