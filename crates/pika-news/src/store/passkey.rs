//! Passkeys: what a user's device proves that it has.
//!
//! Invariants: one key stands for one user; a query that finds a user by a key leaves out the disabled; a use and the session
//! that it opens are one change.

use rusqlite::params;

use super::identity::{SignedInBy, USER_COLUMNS, has_as_many, open_session, user};
use super::record::{find, list};
use super::{AddedCredential, Store, StoreError, audit};
use crate::auth::{Audit, PasskeyEntry, SecretHash, User};

/// A passkey that is to be stored.
#[derive(Clone, Debug)]
pub struct NewPasskey {
    /// Whose it is.
    pub user_id: i64,
    /// What the device calls it.
    pub credential_id: Vec<u8>,
    /// What is needed to check it.
    pub credential: String,
    /// What its owner calls it.
    pub name: String,
}

/// A passkey, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPasskey {
    /// Its number.
    pub id: i64,
    /// Whose it is; they are not disabled.
    pub user: User,
    /// What is needed to check it.
    pub credential: String,
}

impl Store {
    /// Adds a passkey, if its user has fewer than `max`, and writes that down.
    pub async fn add_passkey(
        &self,
        new: NewPasskey,
        max: u32,
        entry: Audit,
        now_ms: i64,
    ) -> Result<AddedCredential, StoreError> {
        self.write(move |transaction| {
            let sql = "SELECT id FROM passkey WHERE credential_id = ?1";
            if find(transaction, sql, [&new.credential_id], |row| row.get::<_, i64>(0))?.is_some() {
                return Ok(AddedCredential::Taken);
            }
            if has_as_many(transaction, "passkey", new.user_id, max)? {
                return Ok(AddedCredential::TooMany);
            }
            let added = transaction.execute(
                "INSERT INTO passkey (user_id, credential_id, credential, name, created_at_ms)
                 SELECT id, ?2, ?3, ?4, ?5 FROM user WHERE id = ?1 AND NOT is_disabled",
                params![new.user_id, new.credential_id, new.credential, new.name, now_ms],
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

    /// Finds a passkey by what the device calls it.
    pub async fn find_passkey(&self, credential_id: Vec<u8>) -> Result<Option<FoundPasskey>, StoreError> {
        self.read(move |transaction| {
            let sql = format!(
                "SELECT {USER_COLUMNS}, passkey.id AS passkey_id, credential
                 FROM passkey JOIN user ON user.id = user_id WHERE credential_id = ?1 AND NOT is_disabled"
            );
            find(transaction, &sql, [credential_id], |row| {
                Ok(FoundPasskey {
                    id: row.get("passkey_id")?,
                    user: user(row)?,
                    credential: row.get("credential")?,
                })
            })
        })
        .await
    }

    /// Notes the use of a passkey and opens a session; `false` when the passkey is not as it was found, or its user was
    /// disabled meanwhile.
    pub async fn open_passkey_session(
        &self,
        found: FoundPasskey,
        credential: String,
        session: SecretHash,
        now_ms: i64,
        expires_at_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let used = transaction.execute(
                "UPDATE passkey SET credential = ?3, used_at_ms = ?4 WHERE id = ?1 AND credential = ?2
                 AND EXISTS (SELECT 1 FROM user WHERE user.id = user_id AND NOT is_disabled)",
                params![found.id, found.credential, credential, now_ms],
            )?;
            if used > 0 {
                open_session(transaction, &found.user, SignedInBy::Passkey, session, now_ms, expires_at_ms)?;
            }
            Ok(used > 0)
        })
        .await
    }

    /// Lists a user's passkeys, the newest first.
    pub async fn list_passkeys(&self, user_id: i64) -> Result<Vec<PasskeyEntry>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT id, name, created_at_ms, used_at_ms FROM passkey
                 WHERE user_id = ?1 ORDER BY id DESC";
            list(transaction, sql, [user_id], |row| {
                Ok(PasskeyEntry {
                    id: row.get("id")?,
                    name: row.get("name")?,
                    created_at_ms: row.get("created_at_ms")?,
                    used_at_ms: row.get("used_at_ms")?,
                })
            })
        })
        .await
    }

    /// Lists what a user's devices call their passkeys.
    pub async fn list_credential_ids(&self, user_id: i64) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT credential_id FROM passkey WHERE user_id = ?1";
            list(transaction, sql, [user_id], |row| row.get(0))
        })
        .await
    }

    /// Removes a user's passkey, and writes that down; `false` when they have none of that number.
    pub async fn remove_passkey(
        &self,
        user_id: i64,
        passkey: i64,
        entry: Audit,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let sql = "DELETE FROM passkey WHERE id = ?1 AND user_id = ?2";
            let removed = transaction.execute(sql, [passkey, user_id])?;
            if removed > 0 {
                audit::add(transaction, &entry, now_ms)?;
            }
            Ok(removed > 0)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Audit {
        Audit {
            actor: "ada".to_owned(),
            action: "passkey.added",
            subject: "user ada".to_owned(),
            repository: None,
            detail: serde_json::json!({}),
        }
    }

    #[tokio::test]
    async fn a_user_has_so_many_and_none_once_they_are_disabled() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("forge.sqlite")).unwrap();
        let user = store.ensure_user("ada".to_owned(), false, 1).await.unwrap();
        let add = |credential: u8| {
            let new = NewPasskey {
                user_id: user.id,
                credential_id: vec![credential],
                credential: "key".to_owned(),
                name: "laptop".to_owned(),
            };
            store.add_passkey(new, 2, entry(), 1)
        };
        assert!(matches!(add(1).await.unwrap(), AddedCredential::Added(_)));
        assert_eq!(add(1).await.unwrap(), AddedCredential::Taken);
        assert!(matches!(add(2).await.unwrap(), AddedCredential::Added(_)));
        assert_eq!(add(3).await.unwrap(), AddedCredential::TooMany);
        let found = store.find_passkey(vec![1]).await.unwrap().unwrap();
        store.set_user_disabled("ada".to_owned(), true, entry(), 2).await.unwrap();
        assert_eq!(store.find_passkey(vec![1]).await.unwrap(), None);
        let session = crate::auth::Secret::random().unwrap().hash();
        assert!(!store.open_passkey_session(found, "key".to_owned(), session, 2, 9).await.unwrap());
        assert_eq!(add(1).await.unwrap(), AddedCredential::NoUser);
    }
}
