//! Webhooks of a repository: who is told of its events. Sending is `webhooks`.
//!
//! Invariants: the key of a webhook's signatures is shown once, and kept sealed; who adds or removes one is written down.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::json;

use super::event::EventKind;
use super::{Forge, ForgeError, Hosted};
use crate::auth::Audit;
use crate::store::{DeliveryRecord, NewWebhook, WebhookRecord};
use crate::webhooks::{check_url, sealed_name};

const WEBHOOKS_PER_REPOSITORY_MAX: u32 = 20;
const KEY_BYTES: usize = 32;

/// A webhook, without its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Webhook {
    /// Its number.
    pub id: i64,
    /// Whom events are sent to.
    pub url: String,
    /// Which are; all when there is none.
    pub kinds: Vec<String>,
    /// When it was added, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// Who added it.
    pub created_by: String,
}

/// An event on its way to a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// The event.
    pub event_id: i64,
    /// What happened.
    pub kind: String,
    /// `waiting`, `delivered` or `failed`.
    pub status: String,
    /// How often it was tried.
    pub tries: u32,
    /// What the receiver answered at the last try.
    pub response_status: Option<u16>,
    /// What went wrong at the last try.
    pub problem: Option<String>,
    /// How long the last try took.
    pub duration_ms: Option<i64>,
    /// When it was queued, in milliseconds since the Unix epoch.
    pub queued_at_ms: i64,
    /// When it is tried again, while it waits.
    pub next_try_at_ms: Option<i64>,
    /// When it came to its end.
    pub finished_at_ms: Option<i64>,
    /// What is sent, as text: the signature is of exactly this.
    pub body: String,
}

impl Forge {
    /// Adds a webhook that is told of what happens from now on; returns the key of its signatures with it.
    pub async fn add_webhook(
        &self,
        repository: &str,
        url: &str,
        kinds: &[String],
        actor: &str,
    ) -> Result<(Webhook, String), ForgeError> {
        let hosted = self.hosted(repository)?;
        let invalid = |problem: String| ForgeError::Invalid { problem };
        let url = check_url(url, self.config().webhooks.allow_private).map_err(invalid)?.to_string();
        if let Some(unknown) = kinds.iter().find(|kind| EventKind::parse(kind).is_none()) {
            let shown: String = unknown.chars().take(80).collect();
            return Err(invalid(format!("{shown:?} is no kind of event; docs/formats/api.md lists them")));
        }
        let random = |error| ForgeError::secret(crate::secrets::SecretKeyError::Random(error));
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(random)?;
        let key = URL_SAFE_NO_PAD.encode(bytes);
        let secret = self.secret_key()?.seal(hosted.id, &sealed_name(&url), key.as_bytes());
        let new = NewWebhook {
            repository_id: hosted.id,
            url: url.clone(),
            kinds: kinds.join(" "),
            secret: secret.map_err(ForgeError::secret)?,
        };
        let entry = audit(&hosted, actor, "webhook.added", json!({ "url": url, "kinds": kinds }));
        let now_ms = self.now_ms();
        let added = self.store().add_webhook(new, WEBHOOKS_PER_REPOSITORY_MAX, entry, now_ms).await?;
        let Some(id) = added else {
            let message = format!("{WEBHOOKS_PER_REPOSITORY_MAX} webhooks are the limit; remove one");
            return Err(ForgeError::refused(message));
        };
        let (kinds, created_by) = (kinds.to_vec(), actor.to_owned());
        Ok((Webhook { id, url, kinds, created_at_ms: now_ms, created_by }, key))
    }

    /// Removes a webhook. What is on its way is not sent.
    pub async fn remove_webhook(&self, repository: &str, id: i64, actor: &str) -> Result<(), ForgeError> {
        let hosted = self.hosted(repository)?;
        let entry = audit(&hosted, actor, "webhook.removed", json!({ "webhook": id }));
        match self.store().remove_webhook(hosted.id, id, entry, self.now_ms()).await? {
            true => Ok(()),
            false => Err(missing()),
        }
    }

    /// Lists the webhooks of a repository, after one.
    pub async fn webhooks_after(
        &self,
        repository: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Webhook>, ForgeError> {
        let found = self.store().list_webhooks(Some(self.hosted(repository)?.id), after, limit).await?;
        Ok(found.into_iter().map(shown).collect())
    }

    /// Lists the deliveries of a webhook, the latest first, after one.
    pub async fn deliveries_after(
        &self,
        repository: &str,
        webhook: i64,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Delivery>, ForgeError> {
        let found = self.store().find_webhook(self.hosted(repository)?.id, webhook).await?;
        let webhook = found.ok_or_else(missing)?;
        let found = self.store().list_deliveries(webhook.id, after, limit).await?;
        Ok(found.into_iter().map(delivery).collect())
    }

    /// Sends once more what was sent, as a delivery of its own.
    pub async fn redeliver(&self, repository: &str, webhook: i64, id: i64) -> Result<Delivery, ForgeError> {
        let found = self.store().find_webhook(self.hosted(repository)?.id, webhook).await?;
        let webhook = found.ok_or_else(missing)?;
        let repeated = self.store().repeat_delivery(webhook.id, id, self.now_ms()).await?;
        let repeated = repeated.ok_or_else(|| ForgeError::not_found("such delivery"))?;
        self.webhooks().wake.notify_one();
        Ok(delivery(repeated))
    }
}

fn audit(hosted: &Hosted, actor: &str, action: &'static str, detail: serde_json::Value) -> Audit {
    Audit {
        actor: actor.to_owned(),
        action,
        subject: format!("webhook of {}", hosted.config.name),
        repository: Some(hosted.id),
        detail,
    }
}

fn missing() -> ForgeError {
    ForgeError::not_found("such webhook")
}

fn shown(webhook: WebhookRecord) -> Webhook {
    let kinds = webhook.kinds.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let WebhookRecord { id, url, created_at_ms, created_by, .. } = webhook;
    Webhook { id, url, kinds, created_at_ms, created_by }
}

fn delivery(found: DeliveryRecord) -> Delivery {
    let is_waiting = found.status == "waiting";
    Delivery {
        id: found.id,
        event_id: found.event_id,
        kind: found.kind,
        status: found.status,
        tries: found.tries,
        response_status: found.response_status,
        problem: found.problem,
        duration_ms: found.duration_ms,
        queued_at_ms: found.queued_at_ms,
        next_try_at_ms: is_waiting.then_some(found.not_before_ms),
        finished_at_ms: found.finished_at_ms,
        body: found.body,
    }
}
