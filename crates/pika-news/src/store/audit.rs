//! The audit log: who did what to whose rights and secrets.
//!
//! Invariant: rows are only ever added; the database itself refuses anything else.

use rusqlite::{Transaction, params};

use super::record::list;
use super::{Store, StoreError};
use crate::auth::{Audit, AuditEntry};
use crate::forge::id::RepositoryId;

impl Store {
    /// Adds an entry.
    pub async fn add_audit(&self, entry: Audit, now_ms: i64) -> Result<(), StoreError> {
        self.write(move |transaction| add(transaction, &entry, now_ms)).await
    }

    /// Lists entries before a number, the newest first; of one repository when one is given.
    pub async fn list_audit(
        &self,
        repository: Option<RepositoryId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT audit.id, at_ms, actor, action, subject, repository.name AS repository, detail
                 FROM audit LEFT JOIN repository ON repository.id = repository_id
                 WHERE audit.id < ?2 AND (?1 IS NULL OR repository_id = ?1) ORDER BY audit.id DESC LIMIT ?3";
            let parameters = params![repository.map(|id| id.0), before.unwrap_or(i64::MAX), limit];
            list(transaction, sql, parameters, |row| {
                let detail: String = row.get("detail")?;
                Ok(AuditEntry {
                    id: row.get("id")?,
                    at_ms: row.get("at_ms")?,
                    actor: row.get("actor")?,
                    action: row.get("action")?,
                    subject: row.get("subject")?,
                    repository: row.get("repository")?,
                    detail: serde_json::from_str(&detail).unwrap_or_default(),
                })
            })
        })
        .await
    }
}

/// Adds an entry within the transaction of what it is about.
pub(super) fn add(transaction: &Transaction<'_>, entry: &Audit, now_ms: i64) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO audit (at_ms, actor, action, subject, repository_id, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![now_ms, entry.actor, entry.action, entry.subject, entry.repository, entry.detail.to_string()],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_audit_log_is_only_ever_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("forge.sqlite");
        let store = Store::open(&file).unwrap();
        let entry = Audit {
            actor: "ada".to_owned(),
            action: "user.disabled",
            subject: "user bob".to_owned(),
            repository: None,
            detail: serde_json::json!({}),
        };
        store.add_audit(entry, 1).await.unwrap();
        let database = rusqlite::Connection::open(&file).unwrap();
        for sql in ["DELETE FROM audit", "UPDATE audit SET actor = 'eve'"] {
            assert!(database.execute(sql, []).is_err(), "{sql}");
        }
        assert_eq!(store.list_audit(None, None, 10).await.unwrap()[0].actor, "ada");
    }
}
