//! Keeps another git host's repository the same as ours, and tells its commits their state.
//!
//! Invariants: a mirror delays nothing but itself; what failed is tried again later and later, and its reason can be seen; a
//! state is told only of a commit that the other host was given, from a place in the order of events that is written down.

mod statuses;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pika_git::{GitError, Mirrored};
use statuses::Told;

use crate::config::MirrorConfig;
use crate::forge::{Forge, ForgeError, Hosted};
use crate::store::{MirrorRound, MirrorState, StoreError};

/// How long a wave of pushes is waited for.
const SETTLE: Duration = Duration::from_millis(300);
/// How long is waited after the first failure; each further one doubles it.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// How long is waited after the first time that the host of the statuses took none; each further one doubles it.
const TELL_AGAIN_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// How long somebody who asks for a round waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many references that were not taken are named.
const REJECTED_LISTED: usize = 5;

impl Forge {
    /// Begins to keep the mirrors, each by itself, until the forge drains.
    pub(crate) fn start_mirrors(&self) {
        for hosted in self.all_hosted() {
            self.start_mirror(&hosted);
        }
    }

    /// Begins to keep the mirror of a repository, if it has one, until it is configured otherwise.
    pub(crate) fn start_mirror(&self, hosted: &Arc<Hosted>) {
        if hosted.config.mirror.is_some() {
            let (forge, hosted) = (self.clone(), Arc::clone(hosted));
            self.ci().spawn_until_drain(async move {
                tokio::select! {
                    () = forge.keep_mirror(&hosted) => {}
                    () = hosted.replaced.cancelled() => {}
                }
            });
        }
    }

    /// Where the mirror of a repository stands.
    pub async fn find_mirror(&self, repository: &str) -> Result<MirrorState, ForgeError> {
        let hosted = self.hosted(repository)?;
        if hosted.config.mirror.is_none() {
            return Ok(MirrorState::none());
        }
        Ok(self.store().ensure_mirror(hosted.id).await?)
    }

    /// Asks for a round of the mirror now and waits for it, though not for long; says where the mirror stands then.
    pub async fn sync_mirror(&self, repository: &str) -> Result<MirrorState, ForgeError> {
        let hosted = self.hosted(repository)?;
        if hosted.config.mirror.is_none() {
            let remedy =
                "configure one with [repositories.mirror], and let the forge read its configuration again";
            return Err(ForgeError::refused(format!("{repository} has no mirror; {remedy}")));
        }
        self.find_mirror(repository).await?;
        let mut rounds = hosted.live.mirror_rounds.subscribe();
        hosted.set_mirror_wanted(true);
        hosted.live.moved.notify_one();
        let is_over = async {
            // One that had begun before may end first; it has not taken the wish.
            while rounds.changed().await.is_ok() && hosted.is_mirror_wanted() {}
        };
        let _ = tokio::time::timeout(PATIENCE, is_over).await;
        self.find_mirror(repository).await
    }

    async fn keep_mirror(&self, hosted: &Hosted) {
        let Some(config) = &hosted.config.mirror else { return };
        // Whoever kept it by an earlier configuration ends first.
        let _one = hosted.live.mirroring.lock().await;
        let mut keeping = Keeping::default();
        loop {
            let rest = match self.mirror_once(hosted, config, &mut keeping).await {
                Ok(rest) => rest,
                Err(error) => {
                    tracing::error!(repository = hosted.config.name, %error, "the mirror's state could not be kept");
                    RETRY_FIRST
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = hosted.live.moved.notified() => tokio::time::sleep(SETTLE).await,
            }
        }
    }

    /// One round: pushes when something moved or nobody looked for long, then tells states. Returns how long to rest.
    async fn mirror_once(
        &self,
        hosted: &Hosted,
        config: &MirrorConfig,
        keeping: &mut Keeping,
    ) -> Result<Duration, StoreError> {
        let state = self.store().ensure_mirror(hosted.id).await?;
        // After a failure, what is pushed meanwhile does not hurry it.
        if let Some(next) = state.next_try_at_ms.filter(|_| !hosted.is_mirror_wanted()) {
            let left = next - self.now_ms();
            if left > 0 {
                return Ok(Duration::from_millis(left.cast_unsigned()));
            }
        }
        // Before the references are looked at: what happened until now is about commits that the other host is given now.
        let (_, happened) = self.store().event_bounds().await?;
        let found = hosted.git.fingerprint_references().await.ok();
        let is_late = keeping.same_at.is_none_or(|at| at.elapsed() >= config.interval);
        if is_late || found.is_none() || found != keeping.mirrored || hosted.is_mirror_wanted() {
            hosted.set_mirror_wanted(false);
            self.store().begin_mirror(hosted.id, self.now_ms()).await?;
            let round = round_of(hosted.git.mirror(&config.target).await);
            let is_failed = round.status == "failed";
            let rest = later(RETRY_FIRST, state.failures);
            let next_ms = self.now_ms().saturating_add(i64::try_from(rest.as_millis()).unwrap_or(i64::MAX));
            if let Some(message) = &round.message {
                tracing::warn!(repository = hosted.config.name, message, "the mirror is not the same");
            }
            let round = MirrorRound { next_try_at_ms: is_failed.then_some(next_ms), ..round };
            self.store().finish_mirror(hosted.id, round, self.now_ms()).await?;
            hosted.live.mirror_rounds.send_modify(|rounds| *rounds += 1);
            if is_failed {
                return Ok(rest);
            }
            (keeping.mirrored, keeping.same_at) = (found, Some(Instant::now()));
        }
        let until_late =
            keeping.same_at.map_or(Duration::ZERO, |at| config.interval.saturating_sub(at.elapsed()));
        let Some(statuses) = &config.statuses else { return Ok(until_late) };
        if let Some(at) = keeping.tell_at.filter(|at| *at > Instant::now()) {
            return Ok(until_late.min(at - Instant::now()));
        }
        let refusals = std::mem::take(&mut keeping.refusals);
        match self.tell_statuses(hosted, statuses, happened).await? {
            Told::All => Ok(until_late),
            Told::Part => Ok(Duration::ZERO),
            Told::Refused => {
                let rest = later(TELL_AGAIN_FIRST, refusals);
                (keeping.refusals, keeping.tell_at) = (refusals + 1, Some(Instant::now() + rest));
                Ok(until_late.min(rest))
            }
        }
    }
}

/// What is known of a mirror between its rounds.
#[derive(Default)]
struct Keeping {
    /// Which references it was given last, and when.
    mirrored: Option<u64>,
    same_at: Option<Instant>,
    /// How often in a row the host of the statuses took none, and before when it is not asked again.
    refusals: u32,
    tell_at: Option<Instant>,
}

/// So long is waited after so many failures before.
fn later(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(RETRY_MAX)
}

fn round_of(done: Result<Mirrored, GitError>) -> MirrorRound {
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            return MirrorRound {
                status: "failed",
                message: Some(error.to_string()),
                ..MirrorRound::default()
            };
        }
    };
    let mut problems = Vec::new();
    if let Some((gone, of)) = done.prune_refused {
        problems.push(format!(
            "{gone} of its {of} branches and tags are not here any more, which is too many to delete at once; delete them there, or raise `prune_percent_max`"
        ));
    }
    if done.rejected_count > 0 {
        let listed: Vec<String> = done
            .rejected
            .iter()
            .take(REJECTED_LISTED)
            .map(|(name, reason)| format!("{name} ({reason})"))
            .collect();
        problems.push(format!("{} were not taken: {}", done.rejected_count, listed.join(", ")));
    }
    MirrorRound {
        status: if problems.is_empty() { "succeeded" } else { "partial" },
        message: (!problems.is_empty()).then(|| problems.join("; ")),
        pushed: done.pushed,
        deleted: done.deleted,
        next_try_at_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_later_and_later() {
        let waits: Vec<u64> = [0, 1, 2, 30].map(|failures| later(RETRY_FIRST, failures).as_secs()).to_vec();
        assert_eq!(waits, [5, 10, 20, 3600]);
    }

    #[test]
    fn a_round_tells_what_is_not_the_same() {
        let rejected = vec![("refs/heads/x".to_owned(), "[remote rejected] (hook declined)".to_owned())];
        let done = Mirrored {
            pushed: 1,
            rejected,
            rejected_count: 1,
            prune_refused: Some((4, 9)),
            ..Mirrored::default()
        };
        let round = round_of(Ok(done));
        assert_eq!(round.status, "partial");
        let message = round.message.unwrap();
        assert!(message.contains("4 of its 9") && message.contains("refs/heads/x"), "{message}");
        assert_eq!(round_of(Ok(Mirrored::default())).status, "succeeded");
    }
}
