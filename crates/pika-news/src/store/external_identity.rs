//! Who a user is to an OpenID provider.
//!
//! Invariant: issuer and subject are the identity. A name that is taken here is never taken over.

use rusqlite::params;

use super::identity::{SignedInBy, USER_COLUMNS, open_session, user};
use super::record::find;
use super::{Store, StoreError, audit};
use crate::auth::{Audit, SecretHash, User};

/// Somebody that a provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalIdentity {
    /// The provider.
    pub issuer: String,
    /// Who it is there; never used for another person.
    pub subject: String,
}

/// What became of somebody's sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// They are this user, and have a session.
    User(User),
    /// They are a user that is disabled.
    Disabled,
    /// They are nobody here, and nobody is made.
    Unknown,
    /// They would get a name that somebody else has.
    NameTaken(String),
}

impl Store {
    /// Finds the user of an identity, or makes one when there is a name to make them under, and opens a session: all or
    /// nothing.
    pub async fn open_external_session(
        &self,
        identity: ExternalIdentity,
        new_name: Option<String>,
        session: SecretHash,
        now_ms: i64,
        expires_at_ms: i64,
    ) -> Result<Adopted, StoreError> {
        self.write(move |transaction| {
            let key = params![identity.issuer, identity.subject];
            let sql = format!(
                "SELECT {USER_COLUMNS}, is_disabled FROM oidc_identity JOIN user ON user.id = user_id
                 WHERE issuer = ?1 AND subject = ?2"
            );
            let found =
                find(transaction, &sql, key, |row| Ok((user(row)?, row.get::<_, bool>("is_disabled")?)))?;
            let user = match (found, new_name) {
                (Some((_, true)), _) => return Ok(Adopted::Disabled),
                (Some((user, false)), _) => user,
                (None, None) => return Ok(Adopted::Unknown),
                (None, Some(name)) => {
                    let added = transaction.execute(
                        "INSERT INTO user (name, is_admin, created_at_ms) VALUES (?1, 0, ?2) ON CONFLICT DO NOTHING",
                        params![name, now_ms],
                    )?;
                    if added == 0 {
                        return Ok(Adopted::NameTaken(name));
                    }
                    let user = User { id: transaction.last_insert_rowid(), name, is_admin: false };
                    let entry = Audit {
                        actor: user.name.clone(),
                        action: "user.created",
                        subject: format!("user {}", user.name),
                        repository: None,
                        detail: serde_json::json!({ "issuer": identity.issuer, "subject": identity.subject }),
                    };
                    audit::add(transaction, &entry, now_ms)?;
                    transaction.execute(
                        "INSERT INTO oidc_identity (issuer, subject, user_id, created_at_ms, used_at_ms)
                         VALUES (?1, ?2, ?3, ?4, ?4)",
                        params![identity.issuer, identity.subject, user.id, now_ms],
                    )?;
                    user
                }
            };
            transaction.execute(
                "UPDATE oidc_identity SET used_at_ms = ?3 WHERE issuer = ?1 AND subject = ?2",
                params![identity.issuer, identity.subject, now_ms],
            )?;
            open_session(transaction, &user, SignedInBy::OpenId, session, now_ms, expires_at_ms)?;
            Ok(Adopted::User(user))
        })
        .await
    }

    /// Says that an identity is a user, who is signed in; `false` when it is somebody already.
    pub async fn link_external_identity(
        &self,
        identity: ExternalIdentity,
        user_id: i64,
        entry: Audit,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let added = transaction.execute(
                "INSERT INTO oidc_identity (issuer, subject, user_id, created_at_ms, used_at_ms)
                 SELECT ?1, ?2, id, ?4, ?4 FROM user WHERE id = ?3 AND NOT is_disabled ON CONFLICT DO NOTHING",
                params![identity.issuer, identity.subject, user_id, now_ms],
            )?;
            if added > 0 {
                audit::add(transaction, &entry, now_ms)?;
            }
            Ok(added > 0)
        })
        .await
    }
}
