//! Webhooks, and the deliveries that wait, are done, or were given up.
//!
//! Invariant: a delivery is written in the transaction that moves its webhook on, so that each event becomes one, once.

use rusqlite::{Row, params};

use super::record::{find, list};
use super::{Store, StoreError, audit};
use crate::auth::Audit;
use crate::forge::id::RepositoryId;
use crate::secrets::SealedSecret;

/// How many finished deliveries of a webhook are kept.
const FINISHED_KEPT: u32 = 200;

/// A webhook as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRecord {
    /// Its number.
    pub id: i64,
    /// Its repository.
    pub repository_id: RepositoryId,
    /// Whom to send to.
    pub url: String,
    /// What is sent, as words; none: everything.
    pub kinds: String,
    /// The key of its signatures.
    pub secret: SealedSecret,
    /// The last event that was looked at for it.
    pub position: i64,
    /// When it was added.
    pub created_at_ms: i64,
    /// Who added it.
    pub created_by: String,
}

/// A webhook to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWebhook {
    /// Its repository.
    pub repository_id: RepositoryId,
    /// Whom to send to.
    pub url: String,
    /// What is sent.
    pub kinds: String,
    /// The key of its signatures.
    pub secret: SealedSecret,
}

/// A delivery as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its number.
    pub id: i64,
    /// Its webhook.
    pub webhook_id: i64,
    /// The event.
    pub event_id: i64,
    /// What happened.
    pub kind: String,
    /// What is sent.
    pub body: String,
    /// `waiting`, `delivered` or `failed`.
    pub status: String,
    /// How often it was tried.
    pub tries: u32,
    /// It is not tried before.
    pub not_before_ms: i64,
    /// What the receiver answered at the last try.
    pub response_status: Option<u16>,
    /// What went wrong at the last try.
    pub problem: Option<String>,
    /// How long the last try took.
    pub duration_ms: Option<i64>,
    /// When it was queued.
    pub queued_at_ms: i64,
    /// When it came to its end.
    pub finished_at_ms: Option<i64>,
}

/// An event that becomes a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// The event.
    pub event_id: i64,
    /// What happened.
    pub kind: &'static str,
    /// What is sent.
    pub body: String,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The delivery.
    pub id: i64,
    /// What the receiver answered.
    pub response_status: Option<u16>,
    /// What went wrong; `None`: it is delivered.
    pub problem: Option<String>,
    /// How long it took.
    pub duration_ms: i64,
    /// When it is tried again; `None`: it was the last try.
    pub again_ms: Option<i64>,
    /// When.
    pub now_ms: i64,
}

const WEBHOOK: &str = "SELECT id, repository_id, url, kinds, nonce, ciphertext, key_id, position, created_at_ms, created_by FROM webhook";
const DELIVERY: &str =
    "SELECT id, webhook_id, event_id, kind, body, status, tries, not_before_ms, response_status, problem,
    duration_ms, queued_at_ms, finished_at_ms FROM webhook_delivery";

fn webhook(row: &Row<'_>) -> rusqlite::Result<WebhookRecord> {
    Ok(WebhookRecord {
        id: row.get("id")?,
        repository_id: row.get("repository_id")?,
        url: row.get("url")?,
        kinds: row.get("kinds")?,
        secret: SealedSecret {
            nonce: row.get("nonce")?,
            ciphertext: row.get("ciphertext")?,
            key_id: row.get("key_id")?,
        },
        position: row.get("position")?,
        created_at_ms: row.get("created_at_ms")?,
        created_by: row.get("created_by")?,
    })
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRecord> {
    Ok(DeliveryRecord {
        id: row.get("id")?,
        webhook_id: row.get("webhook_id")?,
        event_id: row.get("event_id")?,
        kind: row.get("kind")?,
        body: row.get("body")?,
        status: row.get("status")?,
        tries: row.get("tries")?,
        not_before_ms: row.get("not_before_ms")?,
        response_status: row.get("response_status")?,
        problem: row.get("problem")?,
        duration_ms: row.get("duration_ms")?,
        queued_at_ms: row.get("queued_at_ms")?,
        finished_at_ms: row.get("finished_at_ms")?,
    })
}

impl Store {
    /// Adds a webhook that begins with the next event, and writes that down. `None`: there are `max` already.
    pub async fn add_webhook(
        &self,
        new: NewWebhook,
        max: u32,
        entry: Audit,
        now_ms: i64,
    ) -> Result<Option<i64>, StoreError> {
        self.write(move |transaction| {
            let sql = "SELECT COUNT(*) FROM webhook WHERE repository_id = ?1";
            let count: u32 = transaction.query_row(sql, [new.repository_id], |row| row.get(0))?;
            if count >= max {
                return Ok(None);
            }
            let sql = "INSERT INTO webhook (repository_id, url, kinds, nonce, ciphertext, key_id, position, created_at_ms,
                           created_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let latest = super::event::latest(transaction)?;
            let SealedSecret { nonce, ciphertext, key_id } = new.secret;
            transaction.execute(
                sql,
                params![
                    new.repository_id, new.url, new.kinds, nonce, ciphertext, key_id, latest, now_ms, entry.actor
                ],
            )?;
            let id = transaction.last_insert_rowid();
            audit::add(transaction, &entry, now_ms)?;
            Ok(Some(id))
        })
        .await
    }

    /// Removes a webhook with its deliveries, and writes that down; `false` when there is none of that number.
    pub async fn remove_webhook(
        &self,
        repository: RepositoryId,
        id: i64,
        entry: Audit,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let sql = "DELETE FROM webhook WHERE id = ?1 AND repository_id = ?2";
            let removed = transaction.execute(sql, params![id, repository])? > 0;
            if removed {
                audit::add(transaction, &entry, now_ms)?;
            }
            Ok(removed)
        })
        .await
    }

    /// Lists the webhooks of a repository, or of all, after one.
    pub async fn list_webhooks(
        &self,
        repository: Option<RepositoryId>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<WebhookRecord>, StoreError> {
        self.read(move |transaction| {
            let sql = format!(
                "{WEBHOOK} WHERE (?1 IS NULL OR repository_id = ?1) AND id > ?2 ORDER BY id LIMIT ?3"
            );
            list(transaction, &sql, params![repository, after, limit], webhook)
        })
        .await
    }

    /// Finds a webhook of a repository.
    pub async fn find_webhook(
        &self,
        repository: RepositoryId,
        id: i64,
    ) -> Result<Option<WebhookRecord>, StoreError> {
        self.read(move |transaction| {
            let sql = format!("{WEBHOOK} WHERE id = ?1 AND repository_id = ?2");
            find(transaction, &sql, params![id, repository], webhook)
        })
        .await
    }

    /// Queues deliveries of a webhook and moves it on, if it is still where it was, and removes deliveries that are old.
    pub async fn queue_deliveries(
        &self,
        id: i64,
        from: i64,
        to: i64,
        new: Vec<NewDelivery>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE webhook SET position = ?3 WHERE id = ?1 AND position = ?2";
            if transaction.execute(sql, params![id, from, to])? == 0 {
                return Ok(());
            }
            let sql = "INSERT INTO webhook_delivery (webhook_id, event_id, kind, body, status, not_before_ms, queued_at_ms)
                       VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, ?5)";
            let mut insert = transaction.prepare_cached(sql)?;
            for delivery in new {
                insert.execute(params![id, delivery.event_id, delivery.kind, delivery.body, now_ms])?;
            }
            let sql = "DELETE FROM webhook_delivery WHERE webhook_id = ?1 AND status <> 'waiting' AND id <=
                       (SELECT id FROM webhook_delivery WHERE webhook_id = ?1 AND status <> 'waiting'
                        ORDER BY id DESC LIMIT 1 OFFSET ?2)";
            transaction.execute(sql, params![id, FINISHED_KEPT])?;
            Ok(())
        })
        .await
    }

    /// Counts the deliveries of a webhook that wait.
    pub async fn count_waiting_deliveries(&self, id: i64) -> Result<u32, StoreError> {
        self.read(move |transaction| {
            let sql = "SELECT COUNT(*) FROM webhook_delivery WHERE webhook_id = ?1 AND status = 'waiting'";
            Ok(transaction.prepare_cached(sql)?.query_row([id], |row| row.get(0))?)
        })
        .await
    }

    /// Lists the oldest delivery of each webhook that is due, with its webhook.
    pub async fn list_due_deliveries(
        &self,
        now_ms: i64,
    ) -> Result<Vec<(DeliveryRecord, WebhookRecord)>, StoreError> {
        self.read(move |transaction| {
            let sql = format!(
                "{DELIVERY} WHERE id IN (SELECT MIN(id) FROM webhook_delivery INDEXED BY webhook_delivery_waiting
                 WHERE status = 'waiting' AND not_before_ms <= ?1 GROUP BY webhook_id) ORDER BY id"
            );
            let due = list(transaction, &sql, [now_ms], delivery)?;
            let sql = format!("{WEBHOOK} WHERE id = ?1");
            let with_webhook = |delivery: DeliveryRecord| {
                let webhook = find(transaction, &sql, [delivery.webhook_id], webhook)?;
                Ok(webhook.map(|webhook| (delivery, webhook)))
            };
            due.into_iter().filter_map(|delivery| with_webhook(delivery).transpose()).collect()
        })
        .await
    }

    /// When the next delivery that waits for its time is due.
    pub async fn next_delivery_ms(&self) -> Result<Option<i64>, StoreError> {
        self.read(|transaction| {
            let sql = "SELECT MIN(not_before_ms) FROM webhook_delivery WHERE status = 'waiting'";
            Ok(transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
        })
        .await
    }

    /// Stores what came of a try.
    pub async fn note_try(&self, tried: Tried) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let status = match (&tried.problem, tried.again_ms) {
                (None, _) => "delivered",
                (Some(_), Some(_)) => "waiting",
                (Some(_), None) => "failed",
            };
            let finished = (status != "waiting").then_some(tried.now_ms);
            transaction.execute(
                "UPDATE webhook_delivery SET status = ?2, tries = tries + 1, response_status = ?3, problem = ?4,
                     duration_ms = ?5, not_before_ms = COALESCE(?6, not_before_ms), finished_at_ms = ?7
                 WHERE id = ?1 AND status = 'waiting'",
                params![
                    tried.id,
                    status,
                    tried.response_status,
                    tried.problem,
                    tried.duration_ms,
                    tried.again_ms,
                    finished
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Lists the deliveries of a webhook, the latest first, after one.
    pub async fn list_deliveries(
        &self,
        webhook: i64,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.read(move |transaction| {
            let sql = format!("{DELIVERY} WHERE webhook_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
            list(transaction, &sql, params![webhook, after.unwrap_or(i64::MAX), limit], delivery)
        })
        .await
    }

    /// Queues a delivery again as a new one, and returns it; `None` when the webhook has none of that number.
    pub async fn repeat_delivery(
        &self,
        webhook: i64,
        id: i64,
        now_ms: i64,
    ) -> Result<Option<DeliveryRecord>, StoreError> {
        self.write(move |transaction| {
            let sql = "INSERT INTO webhook_delivery (webhook_id, event_id, kind, body, status, not_before_ms, queued_at_ms)
                       SELECT webhook_id, event_id, kind, body, 'waiting', ?3, ?3 FROM webhook_delivery
                       WHERE id = ?2 AND webhook_id = ?1";
            if transaction.execute(sql, params![webhook, id, now_ms])? == 0 {
                return Ok(None);
            }
            let sql = format!("{DELIVERY} WHERE id = ?1");
            find(transaction, &sql, [transaction.last_insert_rowid()], delivery)
        })
        .await
    }
}
