//! Users, and the hashes of the secrets that stand for them.
//!
//! Invariant: a query that finds a user by a secret leaves out the disabled, and what is expired.

use std::collections::BTreeMap;

use rusqlite::{Row, Transaction, params};

use super::membership::roles;
use super::record::{find, list};
use super::{Store, StoreError, audit};
use crate::auth::{Audit, Role, Scopes, SecretHash, Token, User};

pub(super) const USER_COLUMNS: &str =
    "user.id AS user_id, user.name AS user_name, user.is_admin AS user_is_admin";

/// Whom a secret stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The user.
    pub user: User,
    /// Their roles, by the names of repositories.
    pub roles: BTreeMap<String, Role>,
    /// What the secret may be used for.
    pub scopes: Scopes,
    /// When its use was last noted.
    pub used_at_ms: Option<i64>,
}

/// A token that is to be stored.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Whose it is.
    pub user_id: i64,
    /// What its owner calls it.
    pub title: String,
    /// The hash of its secret.
    pub hash: SecretHash,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it stops to work; never when absent.
    pub expires_at_ms: Option<i64>,
}

/// What became of a token, an SSH key or a passkey that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddedCredential {
    /// It is stored, under this number.
    Added(i64),
    /// It stands for somebody already.
    Taken,
    /// Its user has as many as they may have.
    TooMany,
    /// Its user is disabled or gone.
    NoUser,
}

impl Store {
    /// Makes a user, or finds the one of that name, who keeps the rights that they have.
    pub async fn ensure_user(&self, name: String, is_admin: bool, now_ms: i64) -> Result<User, StoreError> {
        self.write(move |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO user (name, is_admin, created_at_ms) VALUES (?1, ?2, ?3)
                     ON CONFLICT (name) DO NOTHING",
                )?
                .execute(params![name, is_admin, now_ms])?;
            let sql = format!("SELECT {USER_COLUMNS} FROM user WHERE name = ?1");
            Ok(transaction.prepare_cached(&sql)?.query_row([&name], user)?)
        })
        .await
    }

    /// Whether there is any user.
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        self.read(|transaction| {
            Ok(transaction.query_row("SELECT EXISTS (SELECT 1 FROM user)", [], |row| row.get(0))?)
        })
        .await
    }

    /// Disables or enables a user; everything that stands for them goes either way, unless they are enabled already. `false` when there is no such user.
    pub async fn set_user_disabled(
        &self,
        name: String,
        is_disabled: bool,
        entry: Audit,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let sql = "SELECT is_disabled FROM user WHERE name = ?1";
            let Some(was_disabled) = find(transaction, sql, [&name], |row| row.get::<_, bool>(0))? else {
                return Ok(false);
            };
            // Nothing is taken from who was never disabled.
            if !was_disabled && !is_disabled {
                return Ok(true);
            }
            transaction
                .execute("UPDATE user SET is_disabled = ?2 WHERE name = ?1", params![name, is_disabled])?;
            for table in ["session", "token", "sign_in_link", "ssh_key", "passkey"] {
                let sql =
                    format!("DELETE FROM {table} WHERE user_id = (SELECT id FROM user WHERE name = ?1)");
                transaction.execute(&sql, [&name])?;
            }
            audit::add(transaction, &entry, now_ms)?;
            Ok(true)
        })
        .await
    }

    /// Finds whom a session stands for, and when its use was last noted.
    pub async fn find_session_user(
        &self,
        hash: SecretHash,
        now_ms: i64,
    ) -> Result<Option<Identified>, StoreError> {
        self.look_up(move |transaction| {
            let sql = format!(
                "SELECT {USER_COLUMNS}, used_at_ms FROM session JOIN user ON user.id = user_id
                 WHERE secret_hash = ?1 AND expires_at_ms > ?2 AND NOT is_disabled"
            );
            let found = find(transaction, &sql, params![hash.as_bytes(), now_ms], |row| {
                Ok((user(row)?, Scopes::all(), row.get("used_at_ms")?))
            })?;
            identified(transaction, found)
        })
        .await
    }

    /// Notes the use of a session and moves its end.
    pub async fn extend_session(
        &self,
        hash: SecretHash,
        now_ms: i64,
        expires_at_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction.execute(
                "UPDATE session SET used_at_ms = ?2, expires_at_ms = ?3 WHERE secret_hash = ?1",
                params![hash.as_bytes(), now_ms, expires_at_ms],
            )?;
            Ok(())
        })
        .await
    }

    /// Ends a session; one that is gone already is fine.
    pub async fn remove_session(&self, hash: SecretHash) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction.execute("DELETE FROM session WHERE secret_hash = ?1", [hash.as_bytes()])?;
            Ok(())
        })
        .await
    }

    /// Finds whom a token stands for, and when its use was last noted.
    pub async fn find_token_user(
        &self,
        hash: SecretHash,
        now_ms: i64,
    ) -> Result<Option<Identified>, StoreError> {
        self.look_up(move |transaction| {
            let sql = format!(
                "SELECT {USER_COLUMNS}, scopes, used_at_ms FROM token JOIN user ON user.id = user_id
                 WHERE secret_hash = ?1 AND (expires_at_ms IS NULL OR expires_at_ms > ?2) AND NOT is_disabled"
            );
            let found = find(transaction, &sql, params![hash.as_bytes(), now_ms], |row| {
                Ok((user(row)?, Scopes::parse(&row.get::<_, String>("scopes")?), row.get("used_at_ms")?))
            })?;
            identified(transaction, found)
        })
        .await
    }

    /// Notes the use of a token.
    pub async fn note_token_use(&self, hash: SecretHash, now_ms: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE token SET used_at_ms = ?2 WHERE secret_hash = ?1";
            transaction.execute(sql, params![hash.as_bytes(), now_ms])?;
            Ok(())
        })
        .await
    }

    /// Adds a token, if its user has fewer than `max`, and writes that down.
    pub async fn add_token(
        &self,
        new: NewToken,
        max: u32,
        entry: Audit,
        now_ms: i64,
    ) -> Result<AddedCredential, StoreError> {
        self.write(move |transaction| {
            if has_as_many(transaction, "token", new.user_id, max)? {
                return Ok(AddedCredential::TooMany);
            }
            let added = transaction.execute(
                "INSERT INTO token (user_id, title, secret_hash, created_at_ms, scopes, expires_at_ms)
                 SELECT id, ?2, ?3, ?4, ?5, ?6 FROM user WHERE id = ?1 AND NOT is_disabled",
                params![
                    new.user_id,
                    new.title,
                    new.hash.as_bytes(),
                    now_ms,
                    new.scopes.to_string(),
                    new.expires_at_ms
                ],
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

    /// Lists a user's tokens, the newest first.
    pub async fn list_tokens(&self, user_id: i64) -> Result<Vec<Token>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT id, title, scopes, created_at_ms, used_at_ms, expires_at_ms FROM token
                 WHERE user_id = ?1 ORDER BY id DESC";
            list(transaction, sql, [user_id], |row| {
                Ok(Token {
                    id: row.get("id")?,
                    title: row.get("title")?,
                    scopes: row.get("scopes")?,
                    created_at_ms: row.get("created_at_ms")?,
                    used_at_ms: row.get("used_at_ms")?,
                    expires_at_ms: row.get("expires_at_ms")?,
                })
            })
        })
        .await
    }

    /// Removes a user's token; `false` when they have none of that number.
    pub async fn remove_token(
        &self,
        user_id: i64,
        token: i64,
        entry: Audit,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let sql = "DELETE FROM token WHERE id = ?1 AND user_id = ?2";
            let removed = transaction.execute(sql, [token, user_id])?;
            if removed > 0 {
                audit::add(transaction, &entry, now_ms)?;
            }
            Ok(removed > 0)
        })
        .await
    }

    /// Adds a sign-in link; `false` when its user is disabled or gone.
    pub async fn add_sign_in_link(
        &self,
        user_id: i64,
        hash: SecretHash,
        now_ms: i64,
        expires_at_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            remove_expired(transaction, now_ms)?;
            let added = transaction.execute(
                "INSERT INTO sign_in_link (user_id, secret_hash, created_at_ms, expires_at_ms)
                 SELECT id, ?2, ?3, ?4 FROM user WHERE id = ?1 AND NOT is_disabled",
                params![user_id, hash.as_bytes(), now_ms, expires_at_ms],
            )?;
            Ok(added > 0)
        })
        .await
    }

    /// Finds whom a link would sign in.
    pub async fn find_sign_in_link_user(
        &self,
        hash: SecretHash,
        now_ms: i64,
    ) -> Result<Option<User>, StoreError> {
        self.read(move |transaction| find_link(transaction, hash, now_ms)).await
    }

    /// Uses up a link and opens a session for its user, both or neither; `None` when the link is not good any more.
    pub async fn exchange_sign_in_link(
        &self,
        link: SecretHash,
        session: SecretHash,
        now_ms: i64,
        expires_at_ms: i64,
    ) -> Result<Option<User>, StoreError> {
        self.write(move |transaction| {
            let Some(user) = find_link(transaction, link, now_ms)? else { return Ok(None) };
            remove_expired(transaction, now_ms)?;
            let sql = "UPDATE sign_in_link SET used_at_ms = ?2 WHERE secret_hash = ?1";
            transaction.execute(sql, params![link.as_bytes(), now_ms])?;
            open_session(transaction, &user, SignedInBy::Link, session, now_ms, expires_at_ms)?;
            Ok(Some(user))
        })
        .await
    }
}

/// Whether a user has `max` rows of a table of credentials, or more.
pub(super) fn has_as_many(
    transaction: &Transaction<'_>,
    table: &'static str,
    user_id: i64,
    max: u32,
) -> Result<bool, StoreError> {
    let sql = format!("SELECT count(*) >= ?2 FROM {table} WHERE user_id = ?1");
    Ok(transaction.query_row(&sql, params![user_id, max], |row| row.get(0))?)
}

/// How somebody signed in, as the audit log has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum SignedInBy {
    Link,
    OpenId,
    Passkey,
}

/// Opens a session for a user, and writes down how they came.
pub(super) fn open_session(
    transaction: &Transaction<'_>,
    user: &User,
    by: SignedInBy,
    session: SecretHash,
    now_ms: i64,
    expires_at_ms: i64,
) -> Result<(), StoreError> {
    let by = match by {
        SignedInBy::Link => "link",
        SignedInBy::OpenId => "openid",
        SignedInBy::Passkey => "passkey",
    };
    let entry = Audit {
        actor: user.name.clone(),
        action: "session.opened",
        subject: format!("user {}", user.name),
        repository: None,
        detail: serde_json::json!({ "by": by }),
    };
    audit::add(transaction, &entry, now_ms)?;
    transaction.execute(
        "INSERT INTO session (user_id, secret_hash, created_at_ms, used_at_ms, expires_at_ms)
         VALUES (?1, ?2, ?3, ?3, ?4)",
        params![user.id, session.as_bytes(), now_ms, expires_at_ms],
    )?;
    Ok(())
}

pub(super) fn identified(
    transaction: &Transaction<'_>,
    found: Option<(User, Scopes, Option<i64>)>,
) -> Result<Option<Identified>, StoreError> {
    let Some((user, scopes, used_at_ms)) = found else { return Ok(None) };
    // An administrator's rights do not come from roles.
    let roles = if user.is_admin { BTreeMap::new() } else { roles(transaction, user.id)? };
    Ok(Some(Identified { user, roles, scopes, used_at_ms }))
}

fn find_link(
    transaction: &Transaction<'_>,
    hash: SecretHash,
    now_ms: i64,
) -> Result<Option<User>, StoreError> {
    let sql = format!(
        "SELECT {USER_COLUMNS} FROM sign_in_link JOIN user ON user.id = user_id
         WHERE secret_hash = ?1 AND expires_at_ms > ?2 AND used_at_ms IS NULL AND NOT is_disabled"
    );
    find(transaction, &sql, params![hash.as_bytes(), now_ms], user)
}

fn remove_expired(transaction: &Transaction<'_>, now_ms: i64) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM session WHERE expires_at_ms <= ?1", [now_ms])?;
    transaction.execute("DELETE FROM sign_in_link WHERE expires_at_ms <= ?1", [now_ms])?;
    Ok(())
}

pub(super) fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User { id: row.get("user_id")?, name: row.get("user_name")?, is_admin: row.get("user_is_admin")? })
}
