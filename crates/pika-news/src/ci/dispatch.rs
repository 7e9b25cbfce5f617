//! The scheduler's loop: looks at the queue when something happened, claims what may start, and lets it go.
//!
//! Invariant: nothing on the path from a push to its lanes waits for a clock; clocks only find what was missed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pikaci::RunId;

use super::lane::{self, Begin};
use super::recover;
use super::schedule::{self, LiveLane};
use crate::forge::health::Actor;
use crate::forge::id::RepositoryId;
use crate::forge::view::Change;
use crate::forge::{Forge, Hosted, Stage};
use crate::metrics;
use crate::store::{Claim, StoreError};

/// The most lane runs that are looked at in one round; the others wait unexplained.
const QUEUE_LOOK: u32 = 1000;
/// How often refs, leases and the queue are looked at though nothing was heard of.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long to rest when the database fails.
const REST: Duration = Duration::from_secs(1);
/// How long lanes may take to let go when the forge leaves.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

impl Forge {
    /// Takes up what an earlier forge has left, then runs lanes until [`Forge::drain`].
    pub async fn start(&self) {
        self.stage().send_replace(Stage::Starting);
        self.recover_merges().await;
        recover::adopt(self, recover::Which::All).await;
        self.start_tutorials().await;
        self.start_mirrors();
        let forge = self.clone();
        self.ci().tasks.spawn(async move { forge.schedule().await });
        let forge = self.clone();
        self.ci().tasks.spawn(async move { forge.look_after().await });
        let forge = self.clone();
        self.ci().tasks.spawn(async move {
            tokio::select! {
                () = forge.send_webhooks() => {}
                () = forge.ci().draining.cancelled() => {}
            }
        });
        let forge = self.clone();
        self.ci().tasks.spawn(async move {
            tokio::select! {
                () = forge.keep_nightlies() => {}
                () = forge.ci().draining.cancelled() => {}
            }
        });
        let forge = self.clone();
        self.ci().tasks.spawn(async move {
            tokio::select! {
                () = forge.maintain() => {}
                () = forge.ci().draining.cancelled() => {}
            }
        });
        self.stage().send_replace(Stage::Started);
    }

    /// Starts no lane any more, waits for those that run as long as the configuration says, and leaves the others
    /// to the next start. Writers of tutorials are ended.
    pub async fn drain(&self) {
        tokio::join!(self.stop_tutorials(), self.drain_lanes());
    }

    async fn drain_lanes(&self) {
        let ci = self.ci();
        ci.draining.cancel();
        ci.tasks.close();
        if tokio::time::timeout(ci.config().drain, ci.tasks.wait()).await.is_err() {
            ci.leaving.cancel();
            let _ = tokio::time::timeout(LEAVE_DEADLINE, ci.tasks.wait()).await;
        }
    }

    async fn schedule(&self) {
        let ci = self.ci();
        while !ci.is_draining() {
            let pause = match self.schedule_once().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "the queue could not be looked at");
                    REST
                }
            };
            tokio::select! {
                () = ci.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = ci.draining.cancelled() => {}
            }
        }
    }

    /// Goes round once; returns how long nothing will change by itself.
    async fn schedule_once(&self) -> Result<Duration, StoreError> {
        let ci = self.ci();
        let now = self.now();
        let now_ms = now.as_millisecond();
        self.progress().note(Actor::Scheduler, now_ms);
        // Of those that are served now; what happens to the configuration meanwhile concerns the next round.
        let served: HashMap<RepositoryId, Arc<Hosted>> =
            self.all_hosted().into_iter().map(|hosted| (hosted.id, hosted)).collect();
        let queued = self.store().list_queued(served.keys().copied().collect(), QUEUE_LOOK).await?;
        if queued.is_empty() {
            return Ok(LOOK_AGAIN);
        }
        let live: Vec<LiveLane> = ci.live().values().map(|live| live.lane.clone()).collect();
        let plan = schedule::plan(ci.config().slots, now_ms, &live, &queued);
        let lease_ms = i64::try_from(ci.config().lease.as_millis()).unwrap_or(i64::MAX);
        let claims: Vec<Claim> = plan
            .claims
            .iter()
            .map(|id| Claim {
                id: *id,
                token: new_token(),
                run_id: RunId::random(now),
                lease_until_ms: now_ms + lease_ms,
            })
            .collect();
        let is_news = |id, reason: &String| {
            queued.iter().any(|lane| lane.id == id && lane.waits.as_ref() != Some(reason))
        };
        let waits: Vec<_> = plan.waits.into_iter().filter(|(id, reason)| is_news(*id, reason)).collect();
        if !claims.is_empty() || !waits.is_empty() {
            let waiting: Vec<_> = waits.iter().map(|(id, _)| *id).collect();
            for job in self.store().claim(claims, waits, now_ms).await? {
                if let Some(lane) = queued.iter().find(|lane| lane.id == job.id) {
                    metrics::lane_begun(Duration::from_millis(
                        (now_ms - lane.queued_at_ms).max(0).cast_unsigned(),
                    ));
                }
                if let Some(hosted) = served.get(&job.repository_id) {
                    lane::start(self, hosted, job, Begin::Spawn);
                }
            }
            for lane in queued.iter().filter(|lane| waiting.contains(&lane.id)) {
                if let Some(hosted) = self.hosted_by_id(lane.repository_id) {
                    self.announce(Change {
                        repository: hosted.config.name.clone(),
                        branch_id: lane.branch_id,
                        lane_run_id: Some(lane.id),
                    });
                }
            }
        }
        let until = plan.look_again_ms.map(|at| Duration::from_millis((at - now_ms).max(1).cast_unsigned()));
        Ok(until.map_or(LOOK_AGAIN, |until| until.min(LOOK_AGAIN)))
    }

    /// Finds what nobody told the forge of: refs that moved, and claims whose holder is gone.
    async fn look_after(&self) {
        let ci = self.ci();
        while !ci.is_draining() {
            self.progress().note(Actor::Caretaker, self.now_ms());
            metrics::sum_up();
            self.reconcile_all().await;
            self.recover_merges().await;
            recover::adopt(self, recover::Which::Expired).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = ci.draining.cancelled() => {}
            }
        }
    }
}

/// How soon after a start the repositories are packed and old runs removed, and how often.
const MAINTAIN_AFTER: Duration = Duration::from_secs(10 * 60);
const MAINTAIN_EVERY: Duration = Duration::from_secs(24 * 3600);

impl Forge {
    /// Packs what pushes left loose and removes old runs, one repository after the other, in nobody's way.
    async fn maintain(&self) {
        let mut pause = MAINTAIN_AFTER;
        // Ended by whoever spawned it.
        loop {
            self.progress().note(Actor::Maintenance, self.now_ms());
            tokio::time::sleep(pause).await;
            pause = MAINTAIN_EVERY;
            self.forget_old_events().await;
            for hosted in self.all_hosted() {
                if let Err(error) = hosted.git.maintain().await {
                    tracing::warn!(repository = hosted.config.name, %error, "the repository could not be packed");
                }
                lane::collect(self, &hosted).await;
            }
        }
    }
}

/// A token unlike any other; it guards against mistakes, not against people.
pub(crate) fn new_token() -> String {
    let random = getrandom::u64().unwrap_or_else(|_| {
        // Unlike others of this machine still: the clock and the process.
        let now = jiff::Timestamp::now().as_nanosecond();
        (now as u64).rotate_left(20) ^ u64::from(std::process::id())
    });
    format!("{random:016x}")
}
