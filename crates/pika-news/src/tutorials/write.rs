//! The loop that writes tutorials: claims what is due, asks the writer, stores what came of it.
//!
//! Invariants: an attempt ends with its claim; its future is dropped then, which ends the writer's process or connection; a
//! failure is stored with its reason, and tried again only so often.

use std::time::Duration;

use pika_tutorial::{End, Explained, Interdiff, explain, reanchor};
use tokio_util::sync::CancellationToken;

use super::{LEASE, Live};
use crate::ci::new_token;
use crate::forge::health::Actor;
use crate::forge::view::Change;
use crate::forge::{Forge, ForgeError};
use crate::metrics;
use crate::store::{FinishTutorial, StoreError, TutorialJob, TutorialStatus};

/// How often the queue and the leases are looked at though nothing was heard of.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long to rest when the database fails.
const REST: Duration = Duration::from_secs(1);
/// How long writers may take to end when the forge does.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

impl Forge {
    /// Takes up what an earlier forge has left, then writes tutorials until [`Forge::stop_tutorials`].
    pub(crate) async fn start_tutorials(&self) {
        if let Err(error) = self.store().requeue_tutorials(true, self.now_ms()).await {
            tracing::error!(%error, "the tutorials that an earlier forge has left could not be queued");
        }
        if !self.tutorials().has_writer() {
            return;
        }
        for _ in 0..self.tutorials().config.slots {
            let forge = self.clone();
            self.tutorials().tasks.spawn(async move { forge.write_tutorials().await });
        }
    }

    /// Ends all writers. What they were at is queued again at the next start.
    pub(crate) async fn stop_tutorials(&self) {
        let tutorials = self.tutorials();
        tutorials.stopping.cancel();
        tutorials.tasks.close();
        let _ = tokio::time::timeout(STOP_DEADLINE, tutorials.tasks.wait()).await;
    }

    async fn write_tutorials(&self) {
        let tutorials = self.tutorials();
        while !tutorials.stopping.is_cancelled() {
            let pause = match self.write_next().await {
                Ok(Some(())) => continue,
                Ok(None) => self.tutorial_pause().await,
                Err(error) => {
                    tracing::error!(%error, "the queue of tutorials could not be looked at");
                    REST
                }
            };
            tokio::select! {
                () = tutorials.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = tutorials.stopping.cancelled() => {}
            }
        }
    }

    async fn tutorial_pause(&self) -> Duration {
        let Ok(Some(next_ms)) = self.store().next_tutorial_ms().await else { return LOOK_AGAIN };
        let until = Duration::from_millis((next_ms - self.now_ms()).max(1).cast_unsigned());
        until.min(LOOK_AGAIN)
    }

    /// Writes the tutorial that is due. `None`: none is.
    async fn write_next(&self) -> Result<Option<()>, StoreError> {
        let now_ms = self.now_ms();
        self.progress().note(Actor::Tutorials, now_ms);
        self.store().requeue_tutorials(false, now_ms).await?;
        let Some(job) = self.store().claim_tutorial(&new_token(), now_ms + lease_ms(), now_ms).await? else {
            return Ok(None);
        };
        // Another slot may find the next one.
        self.tutorials().wake.notify_one();
        let cancel = CancellationToken::new();
        self.tutorials().live().insert(job.head_id, Live { branch: job.branch_id, cancel: cancel.clone() });
        self.announce_tutorial(&job);
        let attempt = tokio::select! {
            attempt = self.attempt(&job) => Some(attempt),
            () = self.keep_claim(&job) => None,
            () = cancel.cancelled() => None,
            () = self.tutorials().stopping.cancelled() => None,
        };
        self.tutorials().live().remove(&job.head_id);
        if let Some(attempt) = attempt {
            let finish = self.judge(&job, attempt, now_ms);
            metrics::tutorial_finished(finish.status);
            if !self.store().finish_tutorial(finish).await? {
                tracing::info!(head = job.head_id.0, "a tutorial was written for a head that has gone by");
            }
            self.announce_tutorial(&job);
        }
        Ok(Some(()))
    }

    /// Renews the lease; returns when the claim is over.
    async fn keep_claim(&self, job: &TutorialJob) {
        let mut risk_ms = job.lease_until_ms;
        loop {
            tokio::time::sleep(LEASE / 4).await;
            let until_ms = self.now_ms() + lease_ms();
            match self.store().renew_tutorial(job.head_id, &job.token, until_ms).await {
                Ok(true) => risk_ms = until_ms,
                Ok(false) => return,
                Err(error) if self.now_ms() < risk_ms => {
                    tracing::warn!(%error, "the claim of a tutorial could not be renewed; trying again");
                }
                Err(_) => return,
            }
        }
    }

    /// Asks the writer, unless the tutorial of an earlier head holds as it is.
    async fn attempt(&self, job: &TutorialJob) -> Result<Attempt, ForgeError> {
        let prepared = self.prepare_head(job.repository_id, job.head_id).await?;
        if let Some(earlier) = self.store().find_earlier_tutorial(job.branch_id, job.head_id).await?
            && let Some(content) = &earlier.content
            && let Ok(written) = serde_json::from_str::<Explained>(content)
            && let Ok(before) = self.prepare_head(job.repository_id, earlier.head_id).await
        {
            let now = prepared.clone();
            let carried = tokio::task::spawn_blocking(move || {
                let is_same = Interdiff::compare(before.diff(), now.diff()).is_empty();
                let moved = is_same.then(|| reanchor(&written.tutorial, &now.change.about, now.diff()));
                let moved = moved.filter(|moved| moved.stale == 0)?;
                Some(Explained { tutorial: moved.tutorial, calls: Vec::new(), usage: None, ..written })
            });
            if let Ok(Some(carried)) = carried.await {
                return Ok(Attempt { explained: carried, is_carried_over: true });
            }
        }
        let tutorials = self.tutorials();
        let explained = explain(&prepared.change, tutorials.provider(), &tutorials.options()).await;
        Ok(Attempt { explained, is_carried_over: false })
    }

    fn judge(
        &self,
        job: &TutorialJob,
        attempt: Result<Attempt, ForgeError>,
        begun_ms: i64,
    ) -> FinishTutorial {
        let now_ms = self.now_ms();
        let mut finish = FinishTutorial {
            head_id: job.head_id,
            token: job.token.clone(),
            status: TutorialStatus::Written,
            failure: None,
            content: None,
            not_before_ms: 0,
            duration_ms: now_ms.abs_diff(begun_ms),
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: None,
            now_ms,
        };
        let failure = match attempt {
            Ok(attempt) => {
                if let Some(usage) = attempt.explained.usage {
                    finish.input_tokens = usage.input_tokens;
                    finish.output_tokens = usage.output_tokens;
                    finish.cost_usd = usage.cost_usd;
                }
                match &attempt.explained.end {
                    End::FellBack { reason } => reason.clone(),
                    End::Written | End::Partial { .. } => {
                        if let End::Partial { reason } = &attempt.explained.end {
                            finish.status = TutorialStatus::Partial;
                            finish.failure = Some(reason.clone());
                        }
                        if attempt.is_carried_over {
                            finish.status = TutorialStatus::CarriedOver;
                        }
                        finish.content = serde_json::to_string(&attempt.explained).ok();
                        return finish;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(head = job.head_id.0, %error, "the changes of a head could not be read");
                format!("the changes could not be read: {error}")
            }
        };
        finish.failure = Some(failure);
        finish.status = TutorialStatus::Failed;
        if let Some(delay_ms) = self.tutorials().delay_ms(job.tries) {
            finish.status = TutorialStatus::Queued;
            finish.not_before_ms = now_ms + delay_ms;
        }
        finish
    }

    fn announce_tutorial(&self, job: &TutorialJob) {
        if let Some(hosted) = self.hosted_by_id(job.repository_id) {
            let repository = hosted.config.name.clone();
            self.announce(Change { repository, branch_id: job.branch_id, lane_run_id: None });
        }
    }
}

/// What an attempt came to.
struct Attempt {
    explained: Explained,
    is_carried_over: bool,
}

fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}
