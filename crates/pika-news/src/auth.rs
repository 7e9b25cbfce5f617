//! Who may do what: users, sessions, API tokens and one-time sign-in links.
//!
//! Invariants: every secret is stored as its hash; a disabled user has no rights from that moment on; what somebody may do
//! is decided by [`Principal::decide`] and nowhere else.

mod access;
mod accounts;
mod audit;
mod authorization;
mod oidc;
mod passkeys;
mod secret;
mod ssh_keys;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

pub use access::{Action, Decision, Principal, PublicRepositories, Refused, Resource, Role, Scope, Scopes};
pub use accounts::{Account, OPERATOR};
pub use audit::{Audit, AuditEntry};
pub(crate) use authorization::cookie;
pub use authorization::{Presented, SESSION_COOKIE};
pub use oidc::{Departure, Oidc, OidcError};
pub use passkeys::{Asked, CEREMONY_LIFETIME, PasskeyEntry, PasskeyError, Passkeys};
pub use secret::{Secret, SecretHash, TOKEN_PREFIX};
pub use ssh_keys::SshKey;

use crate::store::{AddedCredential, Identified, NewToken, Store, StoreError};

/// How long a session lives after it was last used.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a sign-in link can be used.
pub const SIGN_IN_LINK_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A session or token whose use was noted this recently is not noted again: reading a page is not a write.
const USE_NOTED_EVERY: Duration = Duration::from_secs(3600);
const USER_NAME_BYTES_MAX: usize = 64;
const TOKEN_TITLE_CHARS_MAX: usize = 100;
const TOKENS_PER_USER_MAX: u32 = 100;

/// Somebody who may sign in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct User {
    /// Their number.
    pub id: i64,
    /// Their name, unique in this forge.
    pub name: String,
    /// Whether they may do what concerns the whole forge.
    pub is_admin: bool,
}

/// A user's role in a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Member {
    /// Their name.
    pub user: String,
    /// `read`, `write` or `admin`.
    pub role: String,
    /// When it was given, in milliseconds since the Unix epoch.
    pub granted_at_ms: i64,
    /// Who gave it.
    pub granted_by: String,
}

/// An API token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// What its owner called it.
    pub title: String,
    /// What it may be used for: words such as `read push write`.
    pub scopes: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When it was last used, give or take an hour.
    pub used_at_ms: Option<i64>,
    /// When it stops to work; never when absent.
    pub expires_at_ms: Option<i64>,
}

/// An API token that was just made.
#[derive(Debug)]
pub struct CreatedToken {
    /// In nobody's hands but the caller's.
    pub secret: Secret,
    /// What anybody may know of it.
    pub about: Token,
}

/// Why something about identities was refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Not a user's name.
    #[error(
        "{name:?} is not a user name; use 1 to {USER_NAME_BYTES_MAX} letters, digits, '-', '_' and '.', starting with a letter or digit"
    )]
    UserName {
        /// The text, cut to a length that is safe to show.
        name: String,
    },
    /// Nobody has this name.
    #[error("there is no user {name:?}")]
    UserMissing {
        /// The name.
        name: String,
    },
    /// They have no rights any more.
    #[error("user {name:?} is disabled; enable it first")]
    UserDisabled {
        /// The name.
        name: String,
    },
    /// Empty, or too long.
    #[error("a token needs a title of 1 to {TOKEN_TITLE_CHARS_MAX} characters that says what it is for")]
    TokenTitle,
    /// Good for nothing.
    #[error("a token needs at least one scope of `read`, `push`, `write` and `admin`")]
    TokenScopes,
    /// Not a public key, or one that is not accepted.
    #[error("this SSH key can't be added: {why}")]
    SshKey {
        /// What is wrong, and what would be right.
        why: &'static str,
    },
    /// It stands for somebody already.
    #[error("this SSH key is in use already; make another with `ssh-keygen -t ed25519`")]
    SshKeyTaken,
    /// Somebody of that name is there.
    #[error("there is a user {name:?} already")]
    UserExists {
        /// The name.
        name: String,
    },
    /// It is somebody already, or its user has no rights.
    #[error("this identity is a user's already, or the user is disabled")]
    IdentityTaken,
    /// Nobody could administer the forge any more.
    #[error("this is the last administrator; make somebody else one first")]
    LastAdministrator,
    /// Somebody makes tokens and never revokes them.
    #[error("{TOKENS_PER_USER_MAX} tokens are the limit; revoke one that is not used")]
    TooManyTokens,
    /// The operating system has no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Random(getrandom::Error),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<getrandom::Error> for AuthError {
    fn from(source: getrandom::Error) -> AuthError {
        AuthError::Random(source)
    }
}

/// The clock that lifetimes are held against.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Tells who a request comes from. Clones share the database.
#[derive(Clone)]
pub struct Authenticator {
    store: Store,
    clock: Clock,
    public: Arc<RwLock<PublicRepositories>>,
}

impl Authenticator {
    /// Uses the system's clock.
    pub fn new(store: Store) -> Authenticator {
        Authenticator::with_clock(store, Arc::new(Timestamp::now))
    }

    /// Uses the clock that is handed in.
    pub fn with_clock(store: Store, clock: Clock) -> Authenticator {
        Authenticator { store, clock, public: Arc::default() }
    }

    /// Says which repositories everybody may read, from now on.
    pub fn set_public(&self, public: PublicRepositories) {
        *self.public.write().unwrap_or_else(PoisonError::into_inner) = public;
    }

    /// Somebody who has shown nothing.
    pub fn anonymous(&self) -> Principal {
        Principal::anonymous(self.public())
    }

    fn public(&self) -> PublicRepositories {
        self.public.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down what was done.
    pub async fn audit(&self, entry: Audit) -> Result<(), AuthError> {
        Ok(self.store.add_audit(entry, self.now_ms()).await?)
    }

    /// Finds who a session or token belongs to; `None` when it is unknown, expired or revoked, or its user disabled.
    pub async fn identify(&self, presented: &Presented) -> Result<Option<Principal>, AuthError> {
        match presented {
            Presented::Token(secret) => self.token(secret.reveal()).await,
            Presented::Session(secret) => self.session(secret).await,
        }
    }

    /// Finds who an API token belongs to.
    pub async fn token(&self, text: &str) -> Result<Option<Principal>, AuthError> {
        let Some(secret) = Secret::presented(text) else { return Ok(None) };
        if !text.starts_with(TOKEN_PREFIX) {
            return Ok(None);
        }
        let (hash, now) = (secret.hash(), self.now_ms());
        let Some(found) = self.store.find_token_user(hash, now).await? else { return Ok(None) };
        if found.used_at_ms.is_none_or(|used| now - used > millis(USE_NOTED_EVERY)) {
            self.store.note_token_use(hash, now).await?;
        }
        Ok(Some(self.principal(found)))
    }

    async fn session(&self, secret: &Secret) -> Result<Option<Principal>, AuthError> {
        let (hash, now) = (secret.hash(), self.now_ms());
        let Some(found) = self.store.find_session_user(hash, now).await? else { return Ok(None) };
        if found.used_at_ms.is_none_or(|used| now - used > millis(USE_NOTED_EVERY)) {
            self.store.extend_session(hash, now, now + millis(SESSION_LIFETIME)).await?;
        }
        Ok(Some(self.principal(found)))
    }

    fn principal(&self, found: Identified) -> Principal {
        Principal::new(found.user, found.roles, found.scopes, self.public())
    }

    /// Makes a user, or finds the one of that name. An existing one keeps the rights that they have.
    pub async fn ensure_user(&self, name: &str, is_admin: bool) -> Result<User, AuthError> {
        if !is_user_name(name) {
            return Err(AuthError::UserName { name: name.chars().take(80).collect() });
        }
        Ok(self.store.ensure_user(name.to_owned(), is_admin, self.now_ms()).await?)
    }

    /// Whether anybody was ever made a user.
    pub async fn has_users(&self) -> Result<bool, AuthError> {
        Ok(self.store.has_users().await?)
    }

    /// Makes a one-time sign-in link and returns its path, to be appended to the forge's public URL.
    pub async fn create_sign_in_link(&self, user: &User) -> Result<String, AuthError> {
        let (secret, now) = (Secret::random()?, self.now_ms());
        let added =
            self.store.add_sign_in_link(user.id, secret.hash(), now, now + millis(SIGN_IN_LINK_LIFETIME));
        self.added(user, added.await?)?;
        Ok(format!("/news/sign-in/{}", secret.reveal()))
    }

    /// Finds whom a link would sign in, without using it up.
    pub async fn find_sign_in_link(&self, text: &str) -> Result<Option<User>, AuthError> {
        let Some(secret) = Secret::presented(text) else { return Ok(None) };
        Ok(self.store.find_sign_in_link_user(secret.hash(), self.now_ms()).await?)
    }

    /// Uses a link up and opens a session; `None` when the link was used, is too old, or never was one.
    pub async fn sign_in(&self, text: &str) -> Result<Option<Secret>, AuthError> {
        let Some(link) = Secret::presented(text) else { return Ok(None) };
        let (session, now) = (Secret::random()?, self.now_ms());
        let opened = self.store.exchange_sign_in_link(
            link.hash(),
            session.hash(),
            now,
            now + millis(SESSION_LIFETIME),
        );
        Ok(opened.await?.map(|_| session))
    }

    /// Ends a session.
    pub async fn sign_out(&self, session: &Secret) -> Result<(), AuthError> {
        Ok(self.store.remove_session(session.hash()).await?)
    }

    /// Makes an API token. The secret is in nobody's hands but the caller's.
    pub async fn create_token(
        &self,
        user: &User,
        title: &str,
        scopes: &Scopes,
        lifetime: Option<Duration>,
    ) -> Result<Secret, AuthError> {
        Ok(self.create_token_as(&user.name, user, title, scopes, lifetime).await?.secret)
    }

    /// Makes an API token for somebody else, or as the operator does, and tells all about it.
    pub async fn create_token_as(
        &self,
        actor: &str,
        user: &User,
        title: &str,
        scopes: &Scopes,
        lifetime: Option<Duration>,
    ) -> Result<CreatedToken, AuthError> {
        if *scopes == Scopes::from_iter([]) {
            return Err(AuthError::TokenScopes);
        }
        let title = title.trim();
        let length = title.chars().count();
        if length == 0 || length > TOKEN_TITLE_CHARS_MAX || title.chars().any(char::is_control) {
            return Err(AuthError::TokenTitle);
        }
        let secret = Secret::random_token()?;
        let now = self.now_ms();
        let entry = Audit {
            actor: actor.to_owned(),
            action: "token.created",
            subject: format!("user {}", user.name),
            repository: None,
            detail: serde_json::json!({
                "title": title,
                "scopes": scopes.to_string(),
                "lifetime_s": lifetime.map(|lifetime| lifetime.as_secs()),
            }),
        };
        let expires_at_ms = lifetime.map(|lifetime| now.saturating_add(millis(lifetime)));
        let new = NewToken {
            user_id: user.id,
            title: title.to_owned(),
            hash: secret.hash(),
            scopes: scopes.clone(),
            expires_at_ms,
        };
        match self.store.add_token(new, TOKENS_PER_USER_MAX, entry, now).await? {
            AddedCredential::Added(id) => {
                let (title, scopes) = (title.to_owned(), scopes.to_string());
                let about = Token { id, title, scopes, created_at_ms: now, used_at_ms: None, expires_at_ms };
                Ok(CreatedToken { secret, about })
            }
            AddedCredential::TooMany => Err(AuthError::TooManyTokens),
            AddedCredential::Taken | AddedCredential::NoUser => {
                Err(AuthError::UserDisabled { name: user.name.clone() })
            }
        }
    }

    /// Lists a user's tokens, the newest first.
    pub async fn list_tokens(&self, user: &User) -> Result<Vec<Token>, AuthError> {
        Ok(self.store.list_tokens(user.id).await?)
    }

    /// Revokes a user's token; `false` when they have no such token.
    pub async fn revoke_token(&self, user: &User, token: i64) -> Result<bool, AuthError> {
        let entry = Audit {
            actor: user.name.clone(),
            action: "token.revoked",
            subject: format!("user {}", user.name),
            repository: None,
            detail: serde_json::json!({ "token": token }),
        };
        Ok(self.store.remove_token(user.id, token, entry, self.now_ms()).await?)
    }

    fn added(&self, user: &User, is_added: bool) -> Result<(), AuthError> {
        if is_added { Ok(()) } else { Err(AuthError::UserDisabled { name: user.name.clone() }) }
    }

    fn now_ms(&self) -> i64 {
        (self.clock)().as_millisecond()
    }
}

fn is_user_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= USER_NAME_BYTES_MAX
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
