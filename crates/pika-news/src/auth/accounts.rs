//! Users and members, as those see them who decide about them.
//!
//! Invariant: every change here is in the audit log, written in the same transaction.

use serde::Serialize;

use super::{Audit, AuthError, Authenticator, Member, Role, User, is_user_name};
use crate::forge::id::RepositoryId;
use crate::store::ExternalIdentity;

/// Who acts with the command line on the forge's machine. No user may have this name, see [`is_user_name`].
pub const OPERATOR: &str = "(operator)";

/// A user, as administrators see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Account {
    /// Their number.
    pub id: i64,
    /// Their name, unique in this forge.
    pub name: String,
    /// Whether they may do what concerns the whole forge.
    pub is_admin: bool,
    /// Whether they have no rights at all.
    pub is_disabled: bool,
    /// When they were made, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
}

impl Account {
    /// The user.
    pub fn user(&self) -> User {
        User { id: self.id, name: self.name.clone(), is_admin: self.is_admin }
    }
}

impl Authenticator {
    /// Makes a user.
    pub async fn add_user(&self, actor: &str, name: &str, is_admin: bool) -> Result<Account, AuthError> {
        if !is_user_name(name) {
            return Err(AuthError::UserName { name: name.chars().take(80).collect() });
        }
        let entry = about_user(actor, "user.created", name, serde_json::json!({ "is_admin": is_admin }));
        match self.store.add_user(name.to_owned(), is_admin, entry, self.now_ms()).await? {
            true => self.account(name).await,
            false => Err(AuthError::UserExists { name: name.to_owned() }),
        }
    }

    /// Lists users by name, after a name.
    pub async fn list_users(&self, after: Option<&str>, limit: u32) -> Result<Vec<Account>, AuthError> {
        Ok(self.store.list_users(after.map(str::to_owned), limit).await?)
    }

    /// Finds a user by name.
    pub async fn account(&self, name: &str) -> Result<Account, AuthError> {
        let found = self.store.find_user(name.to_owned()).await?;
        found.ok_or_else(|| AuthError::UserMissing { name: name.chars().take(80).collect() })
    }

    /// Ends every right of a user at once, as the operator: sessions, tokens, links and keys are gone, and no new ones
    /// are given.
    pub async fn disable_user(&self, name: &str) -> Result<(), AuthError> {
        self.set_disabled(OPERATOR, name, true).await
    }

    /// Lets a user sign in again, as the operator, with new links, tokens and keys.
    pub async fn enable_user(&self, name: &str) -> Result<(), AuthError> {
        self.set_disabled(OPERATOR, name, false).await
    }

    /// Disables or enables a user, in somebody's name.
    pub async fn set_disabled(&self, actor: &str, name: &str, is_disabled: bool) -> Result<(), AuthError> {
        let account = self.account(name).await?;
        if is_disabled && actor != OPERATOR && self.store.is_last_administrator(account.id).await? {
            return Err(AuthError::LastAdministrator);
        }
        let action = if is_disabled { "user.disabled" } else { "user.enabled" };
        let entry = about_user(actor, action, name, serde_json::json!({}));
        match self.store.set_user_disabled(name.to_owned(), is_disabled, entry, self.now_ms()).await? {
            true => Ok(()),
            false => Err(AuthError::UserMissing { name: name.to_owned() }),
        }
    }

    /// Makes a user an administrator of the forge, or takes that away.
    pub async fn set_administrator(&self, actor: &str, name: &str, is_admin: bool) -> Result<(), AuthError> {
        let account = self.account(name).await?;
        let entry = about_user(actor, "user.role", name, serde_json::json!({ "is_admin": is_admin }));
        match self.store.set_administrator(account.id, is_admin, entry, self.now_ms()).await? {
            true => Ok(()),
            false => Err(AuthError::LastAdministrator),
        }
    }

    /// Removes a user.
    pub async fn remove_user(&self, actor: &str, name: &str) -> Result<(), AuthError> {
        let account = self.account(name).await?;
        let entry = about_user(actor, "user.removed", name, serde_json::json!({}));
        match self.store.remove_user(account.id, entry, self.now_ms()).await? {
            true => Ok(()),
            false => Err(AuthError::LastAdministrator),
        }
    }

    /// Says who a user is to an OpenID provider, so that they can sign in with it.
    pub async fn link_identity(
        &self,
        actor: &str,
        name: &str,
        identity: ExternalIdentity,
    ) -> Result<(), AuthError> {
        let account = self.account(name).await?;
        let detail = serde_json::json!({ "issuer": identity.issuer, "subject": identity.subject });
        let entry = about_user(actor, "user.linked", name, detail);
        match self.store.link_external_identity(identity, account.id, entry, self.now_ms()).await? {
            true => Ok(()),
            false => Err(AuthError::IdentityTaken),
        }
    }

    /// Lists who has a role in a repository.
    pub async fn list_members(&self, repository: RepositoryId) -> Result<Vec<Member>, AuthError> {
        Ok(self.store.list_members(repository).await?)
    }

    /// Gives a user a role in a repository, in place of the one they had; `None` takes it away.
    pub async fn set_member(
        &self,
        actor: &str,
        (repository, repository_name): (RepositoryId, &str),
        name: &str,
        role: Option<Role>,
    ) -> Result<(), AuthError> {
        let account = self.account(name).await?;
        let action = if role.is_some() { "member.set" } else { "member.removed" };
        let detail = serde_json::json!({ "role": role.map(Role::as_str), "repository": repository_name });
        let entry = Audit { repository: Some(repository), ..about_user(actor, action, name, detail) };
        let now = self.now_ms();
        let granted_by = actor.to_owned();
        Ok(self.store.set_member(repository, account.id, role, granted_by, Some(entry), now).await?)
    }

    /// Lists entries of the audit log before a number, the newest first; of one repository when one is given.
    pub async fn list_audit(
        &self,
        repository: Option<RepositoryId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<super::AuditEntry>, AuthError> {
        Ok(self.store.list_audit(repository, before, limit).await?)
    }
}

pub(super) fn about_user(actor: &str, action: &'static str, name: &str, detail: serde_json::Value) -> Audit {
    Audit { actor: actor.to_owned(), action, subject: format!("user {name}"), repository: None, detail }
}
