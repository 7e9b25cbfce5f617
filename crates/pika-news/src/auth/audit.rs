//! What is written down about changes to rights and secrets.

use serde::Serialize;

use crate::forge::id::RepositoryId;

/// Something that was done, to be written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// Whose name it was done in.
    pub actor: String,
    /// A word such as `user.disabled`, `token.created`, `secret.read`.
    pub action: &'static str,
    /// What it was done to, such as `user ada`.
    pub subject: String,
    /// The repository that it concerns.
    pub repository: Option<RepositoryId>,
    /// The rest, as a JSON object. Never a secret.
    pub detail: serde_json::Value,
}

/// An entry as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AuditEntry {
    /// Its number; a later entry has a greater one.
    pub id: i64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Whose name it was done in.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub subject: String,
    /// The name of the repository that it concerns.
    pub repository: Option<String>,
    /// The rest.
    pub detail: serde_json::Value,
}
