//! Secrets: who sets them, and which lanes get them.
//!
//! Invariants: the policy is the default branch's, as it is when the lane begins, never that of the branch under test; only a
//! head that somebody pushed who may push gets any, and only what a job of the lane names; every reading is written down
//! before it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pikaci::{TargetId, is_secret_name};
use serde_json::json;

use super::error::parse_oid;
use super::{Forge, ForgeError, Hosted};
use crate::auth::Audit;
use crate::ci::select;
use crate::secrets::SecretKey;
use crate::store::{LaneRunJob, SecretRow};

/// The largest secret; a run gets 64 KiB of them at most.
pub const SECRET_BYTES_MAX: usize = 32 * 1024;
/// How many a repository may have.
const SECRETS_MAX: usize = 100;

/// The secrets that a lane is given, by name.
pub(crate) type Given = BTreeMap<String, Vec<u8>>;

impl Forge {
    /// Lists a repository's secrets, without their content.
    pub async fn secrets(&self, repository: &str) -> Result<Vec<SecretRow>, ForgeError> {
        Ok(self.store().list_secrets(self.hosted(repository)?.id).await?)
    }

    /// Sets a secret of a repository.
    pub async fn set_secret(
        &self,
        repository: &str,
        name: &str,
        content: &[u8],
        actor: &str,
    ) -> Result<(), ForgeError> {
        let hosted = self.hosted(repository)?;
        let invalid = |problem: String| ForgeError::Invalid { problem };
        if !is_secret_name(name) {
            let shown: String = name.chars().take(80).collect();
            return Err(invalid(format!(
                "{shown:?} is not the name of a secret; use up to 100 letters, digits, '_', '-' and '.', not '.' first"
            )));
        }
        if content.is_empty() || content.len() > SECRET_BYTES_MAX {
            return Err(invalid(format!(
                "a secret has 1 to {SECRET_BYTES_MAX} bytes; this one has {}",
                content.len()
            )));
        }
        let known = self.store().list_secrets(hosted.id).await?;
        if known.len() >= SECRETS_MAX && !known.iter().any(|secret| secret.name == name) {
            return Err(ForgeError::refused(format!("{SECRETS_MAX} secrets are the limit; remove one")));
        }
        let sealed = self.secret_key()?.seal(hosted.id, name, content).map_err(ForgeError::secret)?;
        let audit = self.audit_of(&hosted, actor, "secret.set", name, json!({"key": sealed.key_id}));
        Ok(self.store().set_secret(hosted.id, name.to_owned(), sealed, audit, self.now_ms()).await?)
    }

    /// Removes a secret of a repository.
    pub async fn remove_secret(&self, repository: &str, name: &str, actor: &str) -> Result<(), ForgeError> {
        let hosted = self.hosted(repository)?;
        let audit = self.audit_of(&hosted, actor, "secret.removed", name, json!({}));
        match self.store().remove_secret(hosted.id, name.to_owned(), audit, self.now_ms()).await? {
            true => Ok(()),
            false => Err(ForgeError::not_found("such secret")),
        }
    }

    /// The secrets that a lane gets, after writing down that it does. None is no error; one that can't be opened is.
    pub(crate) async fn secrets_for(&self, hosted: &Hosted, job: &LaneRunJob) -> Result<Given, ForgeError> {
        let mut given = Given::new();
        let kept = self.store().list_secrets(hosted.id).await?;
        let Some(target) = TargetId::parse(&job.target).ok().filter(|_| !kept.is_empty()) else {
            return Ok(given);
        };
        let Some(manifest) = select::default_manifest(&hosted.git, &hosted.default_branch).await? else {
            return Ok(given);
        };
        let named = named_by_jobs(hosted, job, &target).await?;
        let wanted: Vec<String> = manifest
            .list_secrets_for(&job.branch, &target)
            .filter(|name| named.contains(*name) && kept.iter().any(|secret| secret.name == *name))
            .map(str::to_owned)
            .collect();
        if wanted.is_empty() {
            return Ok(given);
        }
        let Some(author) = self.store().find_trusted_author(job.id).await? else {
            tracing::info!(run = %job.run_id, "no secret is given: nobody who may push is known to have pushed this head");
            return Ok(given);
        };
        let key = self.secret_key()?;
        for name in wanted {
            let Some(sealed) = self.store().find_secret(hosted.id, name.clone()).await? else { continue };
            let content = key.open(hosted.id, &name, &sealed).map_err(ForgeError::secret)?;
            given.insert(name, content);
        }
        let detail = json!({
            "secrets": given.keys().collect::<Vec<_>>(), "run": job.run_id, "branch": job.branch, "head": job.oid,
            "author": author,
        });
        let subject = format!("lane run {}", job.id);
        let audit = Audit { subject, ..self.audit_of(hosted, "forge", "secret.read", "", detail) };
        self.store().add_audit(audit, self.now_ms()).await?;
        Ok(given)
    }

    fn audit_of(
        &self,
        hosted: &Hosted,
        actor: &str,
        action: &'static str,
        name: &str,
        detail: serde_json::Value,
    ) -> Audit {
        Audit {
            actor: actor.to_owned(),
            action,
            subject: format!("secret {name} of {}", hosted.config.name),
            repository: Some(hosted.id),
            detail,
        }
    }

    pub(crate) fn secret_key(&self) -> Result<&SecretKey, ForgeError> {
        self.inner.secret_key.as_ref().ok_or_else(|| {
            ForgeError::refused(
                "this forge has no key for secrets; `pika-news secret key --out FILE` makes one, and `key_file` below [secrets] names it",
            )
        })
    }
}

/// The names of the secrets that a lane's jobs ask for: what none of them would see does not leave the forge.
async fn named_by_jobs(
    hosted: &Hosted,
    job: &LaneRunJob,
    target: &TargetId,
) -> Result<BTreeSet<String>, ForgeError> {
    let own = select::manifest_at(&hosted.git, &parse_oid(&job.oid)?).await?;
    let jobs = own.iter().filter_map(|manifest| manifest.find_target(target)).flat_map(|target| &target.jobs);
    Ok(jobs.flat_map(|job| job.secrets.iter().cloned()).collect())
}

/// Reads the key that a configuration names. Blocks.
pub(super) fn load_key(file: Option<&Path>) -> Result<Option<SecretKey>, ForgeError> {
    file.map(SecretKey::load).transpose().map_err(ForgeError::secret)
}
