//! Roles of users in repositories.
//!
//! Invariant: a role counts for a repository by its name, as it is configured; one that is no longer configured grants
//! nothing and forgets nothing.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::record::{find, list};
use super::{Store, StoreError, audit};
use crate::auth::{Audit, Member, Role};
use crate::forge::id::RepositoryId;

impl Store {
    /// Gives a user a role in a repository, in place of the one they had; `None` takes it away.
    pub async fn set_role(
        &self,
        repository: RepositoryId,
        user_id: i64,
        role: Option<Role>,
        granted_by: String,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.set_member(repository, user_id, role, granted_by, None, now_ms).await
    }

    /// Like [`Store::set_role`], and writes it down.
    pub async fn set_member(
        &self,
        repository: RepositoryId,
        user_id: i64,
        role: Option<Role>,
        granted_by: String,
        entry: Option<Audit>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            if let Some(entry) = &entry {
                audit::add(transaction, entry, now_ms)?;
            }
            match role {
                Some(role) => transaction.execute(
                    "INSERT INTO membership (repository_id, user_id, role, granted_at_ms, granted_by)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO UPDATE SET role = excluded.role, granted_at_ms = excluded.granted_at_ms,
                         granted_by = excluded.granted_by",
                    params![repository.0, user_id, role.as_str(), now_ms, granted_by],
                )?,
                None => transaction.execute(
                    "DELETE FROM membership WHERE repository_id = ?1 AND user_id = ?2",
                    [repository.0, user_id],
                )?,
            };
            Ok(())
        })
        .await
    }

    /// Finds what the user of this name is in a repository now; `None` when that is nothing, or they are disabled. An
    /// administrator of the forge is one of every repository.
    pub async fn find_role(
        &self,
        repository: RepositoryId,
        user: String,
    ) -> Result<Option<Role>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT is_admin, role FROM user LEFT JOIN membership
                 ON membership.user_id = user.id AND membership.repository_id = ?1
                 WHERE user.name = ?2 AND NOT is_disabled";
            let found = find(transaction, sql, params![repository.0, user], |row| {
                Ok((row.get::<_, bool>(0)?, row.get::<_, Option<String>>(1)?))
            })?;
            Ok(found.and_then(|(is_admin, role)| match is_admin {
                true => Some(Role::Admin),
                false => Role::parse(&role?),
            }))
        })
        .await
    }

    /// Lists who has a role in a repository, by name.
    pub async fn list_members(&self, repository: RepositoryId) -> Result<Vec<Member>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT user.name, role, granted_at_ms, granted_by FROM membership
                 JOIN user ON user.id = user_id WHERE repository_id = ?1 ORDER BY user.name";
            list(transaction, sql, [repository.0], |row| {
                Ok(Member {
                    user: row.get("name")?,
                    role: row.get("role")?,
                    granted_at_ms: row.get("granted_at_ms")?,
                    granted_by: row.get("granted_by")?,
                })
            })
        })
        .await
    }
}

/// The roles of a user, by the names of repositories. A role of a newer forge grants nothing.
pub(super) fn roles(
    transaction: &Transaction<'_>,
    user_id: i64,
) -> Result<BTreeMap<String, Role>, StoreError> {
    let sql = "SELECT repository.name, role FROM membership JOIN repository ON repository.id = repository_id
         WHERE user_id = ?1";
    let rows =
        list(transaction, sql, [user_id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    Ok(rows.into_iter().filter_map(|(name, role)| Some((name, Role::parse(&role)?))).collect())
}
