//! Why a use case could not be done.

use pika_git::{GitError, Oid};

use crate::secrets::SecretKeyError;
use crate::store::StoreError;

/// Why the forge did not do what it was asked for. Callers act on the variants; the texts are for people.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// There is no such thing. Callers show "not found"; it is not a fault.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The branch is not at the head that the caller saw. Callers answer 409: look again.
    #[error("the branch is at {found} now, not at {expected}; look at it again")]
    Stale {
        /// The head that the caller saw.
        expected: String,
        /// The head that it has.
        found: String,
    },
    /// The state of things forbids it. Callers answer 409 with the reason.
    #[error("{reason}")]
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// The branch and its target change the same lines. Callers show the paths.
    #[error("{} file(s) conflict with the target, the first is {}; merge the target into the branch and resolve them", paths.len(), paths.first().map_or("", String::as_str))]
    Conflict {
        /// The paths.
        paths: Vec<String>,
    },
    /// What the caller sent can't be read.
    #[error("{problem}")]
    Invalid {
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The forge is shutting down.
    #[error("the forge is shutting down; try again in a minute")]
    Draining,
    /// Git failed.
    #[error("the repository could not be read or written")]
    Git(#[from] GitError),
    /// The database failed.
    #[error("the forge's database failed")]
    Store(#[from] StoreError),
    /// A secret, or their key, can't be used.
    #[error("{source}")]
    Secret {
        /// Why, and what to do. Names the key's file, which only the log may show.
        source: SecretKeyError,
    },
    /// The data folder can't be used.
    #[error("cannot {action}")]
    Io {
        /// What was tried, and on what.
        action: String,
        /// What the system says.
        source: std::io::Error,
    },
}

impl ForgeError {
    /// Something that is not there.
    pub(crate) fn not_found(what: impl Into<String>) -> ForgeError {
        ForgeError::NotFound { what: what.into() }
    }

    /// Something that the state of things forbids.
    pub(crate) fn refused(reason: impl Into<String>) -> ForgeError {
        ForgeError::Refused { reason: reason.into() }
    }

    pub(crate) fn secret(source: SecretKeyError) -> ForgeError {
        ForgeError::Secret { source }
    }

    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> ForgeError {
        let action = action.into();
        move |source| ForgeError::Io { action, source }
    }

    /// Whether the caller asked for something that is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ForgeError::NotFound { .. } | ForgeError::Git(GitError::NotFound { .. }))
    }
}

/// Reads an object id that a client sent.
pub(crate) fn parse_oid(text: &str) -> Result<Oid, ForgeError> {
    Oid::parse(text).map_err(|error| ForgeError::Invalid { problem: error.to_string() })
}
