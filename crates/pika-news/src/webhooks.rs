//! Sends events to whom a repository's administrators named: signed, tried again when it fails, and written down.
//!
//! Invariants: a delivery is written down before it is sent, and sent at least once; one webhook that hangs delays no other; what
//! is connected to is an address that was looked at, whatever a name's records say in between; nothing of an answer is kept but
//! its status.

mod address;
mod send;

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

pub(crate) use address::check_url;
use send::Sender;

use crate::forge::event::EventKind;
use crate::forge::health::Actor;
use crate::forge::id::RepositoryId;
use crate::forge::{Forge, ForgeError};
use crate::secrets::SecretKey;
use crate::store::{NewDelivery, Tried, WebhookRecord};

/// How many are sent at once.
const SENDING_MAX: usize = 8;
/// And of one repository, so that its receivers, if they hang, leave places for others.
const SENDING_OF_REPOSITORY_MAX: usize = 3;
/// How many webhooks are looked at in a round; more than a forge should have.
const WEBHOOKS_MAX: u32 = 1000;
/// How many deliveries of one webhook may wait. Events beyond that stay events, for as long as these are kept.
const WAITING_MAX: u32 = 500;
const EVENTS_AT_ONCE: u32 = 100;
const BODY_BYTES_MAX: usize = 64 * 1024;
/// After each try that fails; there are no more tries than these and one.
const DELAYS: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
];
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const REST: Duration = Duration::from_secs(2);

/// A delivery that is under way.
struct Sending {
    repository: RepositoryId,
    task: tokio::task::Id,
}

/// What wakes the sender.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    pub(crate) wake: Notify,
}

/// The name under which the key of a webhook is sealed. A space is in no name of a secret.
pub(crate) fn sealed_name(url: &str) -> String {
    format!("webhook {url}")
}

impl Forge {
    /// Sends until it is dropped.
    pub(crate) async fn send_webhooks(&self) {
        let sender = match Sender::new(self.config().webhooks.allow_private) {
            Ok(sender) => sender,
            Err(error) => {
                tracing::error!(%error, "no webhook is sent: the client can't be made");
                return;
            }
        };
        let mut written = self.store().watch_events();
        let mut sending = JoinSet::new();
        let mut busy = HashMap::new();
        loop {
            self.progress().note(Actor::Webhooks, self.now_ms());
            written.mark_unchanged();
            let pause = match self.send_due(&sender, &mut sending, &mut busy).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "the deliveries of webhooks could not be looked at");
                    REST
                }
            };
            tokio::select! {
                _ = written.changed() => {}
                () = self.webhooks().wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                Some(done) = sending.join_next_with_id() => {
                    let task = match done {
                        Ok((task, ())) => task,
                        Err(error) => error.id(),
                    };
                    busy.retain(|_, sending: &mut Sending| sending.task != task);
                }
            }
        }
    }

    /// Queues what has happened, and sends what is due. Returns how long there is nothing to do.
    async fn send_due(
        &self,
        sender: &Sender,
        sending: &mut JoinSet<()>,
        busy: &mut HashMap<i64, Sending>,
    ) -> Result<Duration, ForgeError> {
        for webhook in self.store().list_webhooks(None, 0, WEBHOOKS_MAX).await? {
            self.queue_events(&webhook).await?;
        }
        let now_ms = self.now_ms();
        for (delivery, webhook) in self.store().list_due_deliveries(now_ms).await? {
            let repository = webhook.repository_id;
            let of_repository = busy.values().filter(|sending| sending.repository == repository).count();
            if sending.len() >= SENDING_MAX
                || of_repository >= SENDING_OF_REPOSITORY_MAX
                || busy.contains_key(&webhook.id)
            {
                continue;
            }
            let id = webhook.id;
            let (forge, sender) = (self.clone(), sender.clone());
            let task = sending.spawn(async move {
                let started = std::time::Instant::now();
                let sent = match forge.webhook_key(&webhook) {
                    Ok(key) => sender.send(&webhook.url, &key, &delivery, forge.now().as_second()).await,
                    Err(error) => Err(send::Failed { status: None, problem: error.to_string() }),
                };
                let (response_status, problem) = match sent {
                    Ok(status) => (Some(status), None),
                    Err(failed) => (failed.status, Some(failed.problem)),
                };
                let now_ms = forge.now_ms();
                let delay = DELAYS.get(delivery.tries as usize);
                let tried = Tried {
                    id: delivery.id,
                    response_status,
                    problem,
                    duration_ms: i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
                    again_ms: delay.map(|delay| now_ms + i64::try_from(delay.as_millis()).unwrap_or(0)),
                    now_ms,
                };
                if let Err(error) = forge.store().note_try(tried).await {
                    tracing::warn!(%error, delivery = delivery.id, "what came of a delivery could not be stored");
                    // It would be sent again at once.
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            });
            busy.insert(id, Sending { repository, task: task.id() });
        }
        let next = self.store().next_delivery_ms().await?.filter(|at| *at > now_ms);
        let until = next.map(|at| Duration::from_millis((at - now_ms).unsigned_abs()));
        Ok(until.map_or(LOOK_AGAIN, |until| until.min(LOOK_AGAIN)))
    }

    /// Turns events into deliveries of a webhook.
    async fn queue_events(&self, webhook: &WebhookRecord) -> Result<(), ForgeError> {
        let Some(hosted) = self.hosted_by_id(webhook.repository_id) else { return Ok(()) };
        let latest = self.event_bounds().await?.1;
        if webhook.position == latest
            || self.store().count_waiting_deliveries(webhook.id).await? >= WAITING_MAX
        {
            return Ok(());
        }
        let name = hosted.config.name.clone();
        let Ok(found) = self.events(&[name], webhook.position, EVENTS_AT_ONCE).await? else {
            tracing::warn!(webhook = webhook.id, "events were removed before this webhook was told of them");
            let moved = self.store().queue_deliveries(
                webhook.id,
                webhook.position,
                latest,
                Vec::new(),
                self.now_ms(),
            );
            return Ok(moved.await?);
        };
        let wanted = |kind: EventKind| {
            webhook.kinds.is_empty() || webhook.kinds.split(' ').any(|word| word == kind.as_str())
        };
        let deliveries = found.events.into_iter().filter(|event| wanted(event.kind)).map(|mut event| {
            let (event_id, kind) = (event.id, event.kind.as_str());
            let mut body = serde_json::to_string(&event).unwrap_or_default();
            if body.len() > BODY_BYTES_MAX {
                (event.detail.message, event.detail.subject) = (None, None);
                body = serde_json::to_string(&event).unwrap_or_default();
            }
            NewDelivery { event_id, kind, body }
        });
        let (id, from, to) = (webhook.id, webhook.position, found.position);
        self.store().queue_deliveries(id, from, to, deliveries.collect(), self.now_ms()).await?;
        if found.has_more {
            self.webhooks().wake.notify_one();
        }
        Ok(())
    }

    fn webhook_key(&self, webhook: &WebhookRecord) -> Result<Vec<u8>, ForgeError> {
        let key: &SecretKey = self.secret_key()?;
        let name = sealed_name(&webhook.url);
        key.open(webhook.repository_id, &name, &webhook.secret).map_err(ForgeError::secret)
    }
}
