//! SSH keys of users.
//!
//! Invariant: a key is taken in by its bits: what is stored is parsed, and its comment is only a name.

use russh::keys::ssh_key::{HashAlg, PublicKey};
use serde::Serialize;

use super::{Audit, AuthError, Authenticator, Principal, USE_NOTED_EVERY, User, millis};
use crate::store::{AddedCredential, NewSshKey};

const KEY_BYTES_MAX: usize = 16 * 1024;
const COMMENT_CHARS_MAX: usize = 100;
const KEYS_PER_USER_MAX: u32 = 50;

/// A public key of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SshKey {
    /// Its number.
    pub id: i64,
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// Kind and base64, as in `authorized_keys`.
    pub public_key: String,
    /// What its owner calls it.
    pub comment: String,
    /// When it was added, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When it was last used, give or take an hour.
    pub used_at_ms: Option<i64>,
}

impl Authenticator {
    /// Finds whom a key stands for, by its fingerprint (`SHA256:…`); `None` when it is unknown or revoked, or its user
    /// disabled. That the client has the key is for the caller to make sure.
    pub async fn ssh_key(&self, fingerprint: &str) -> Result<Option<Principal>, AuthError> {
        let now = self.now_ms();
        let Some(found) = self.store.find_ssh_key_user(fingerprint.to_owned()).await? else {
            return Ok(None);
        };
        if found.used_at_ms.is_none_or(|used| now - used > millis(USE_NOTED_EVERY)) {
            self.store.note_ssh_key_use(fingerprint.to_owned(), now).await?;
        }
        Ok(Some(self.principal(found)))
    }

    /// Adds a key, a line as in `id_ed25519.pub`. Without a comment of its own it is called what the line calls it.
    pub async fn add_ssh_key(&self, user: &User, line: &str, comment: &str) -> Result<SshKey, AuthError> {
        let (fingerprint, public_key, own) = parse(line)?;
        let comment = Some(comment.trim()).filter(|comment| !comment.is_empty()).unwrap_or(&own).to_owned();
        if comment.chars().count() > COMMENT_CHARS_MAX || comment.chars().any(char::is_control) {
            return Err(AuthError::SshKey { why: "its comment is longer than 100 characters" });
        }
        let entry = Audit {
            actor: user.name.clone(),
            action: "ssh_key.added",
            subject: format!("user {}", user.name),
            repository: None,
            detail: serde_json::json!({ "fingerprint": fingerprint, "comment": comment }),
        };
        let new = NewSshKey {
            user_id: user.id,
            fingerprint: fingerprint.clone(),
            public_key: public_key.clone(),
            comment: comment.clone(),
        };
        let now = self.now_ms();
        match self.store.add_ssh_key(new, KEYS_PER_USER_MAX, entry, now).await? {
            AddedCredential::Added(id) => {
                Ok(SshKey { id, fingerprint, public_key, comment, created_at_ms: now, used_at_ms: None })
            }
            AddedCredential::Taken => Err(AuthError::SshKeyTaken),
            AddedCredential::TooMany => {
                Err(AuthError::SshKey { why: "50 keys are the limit; revoke one that is not used" })
            }
            AddedCredential::NoUser => Err(AuthError::UserDisabled { name: user.name.clone() }),
        }
    }

    /// Lists a user's keys, the newest first.
    pub async fn list_ssh_keys(&self, user: &User) -> Result<Vec<SshKey>, AuthError> {
        Ok(self.store.list_ssh_keys(user.id).await?)
    }

    /// Revokes a user's key; `false` when they have no such key.
    pub async fn revoke_ssh_key(&self, user: &User, key: i64) -> Result<bool, AuthError> {
        let entry = Audit {
            actor: user.name.clone(),
            action: "ssh_key.revoked",
            subject: format!("user {}", user.name),
            repository: None,
            detail: serde_json::json!({ "key": key }),
        };
        Ok(self.store.remove_ssh_key(user.id, key, entry, self.now_ms()).await?)
    }
}

/// Fingerprint, kind and base64, and comment of a line.
fn parse(line: &str) -> Result<(String, String, String), AuthError> {
    let unreadable = AuthError::SshKey { why: "it is not a line such as `ssh-ed25519 AAAA… name`" };
    if line.len() > KEY_BYTES_MAX || line.trim().contains(['\n', '\r']) {
        return Err(unreadable);
    }
    let Ok(mut key) = PublicKey::from_openssh(line.trim()) else { return Err(unreadable) };
    if key.key_data().is_dsa() {
        return Err(AuthError::SshKey { why: "DSA keys can be broken; make an ed25519 key" });
    }
    // russh's RSA is left out (Cargo.toml): such a key would be stored and never let anybody in.
    if key.algorithm().is_rsa() {
        return Err(AuthError::SshKey { why: "RSA keys are not taken; make an ed25519 key" });
    }
    let comment = key.comment().to_string();
    key.set_comment("");
    let text = key.to_openssh().map_err(|_| unreadable)?;
    Ok((key.fingerprint(HashAlg::Sha256).to_string(), text.trim().to_owned(), comment))
}

#[cfg(test)]
mod tests;
