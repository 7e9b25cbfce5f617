//! How the forge is: what each part last did, and whether it can do its work.
//!
//! Invariant: a part that hangs is told by name, and since when; what hangs delays no answer about it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::view::{ActorHealth, Health};
use super::{Forge, ForgeError, Hosted, Stage};

/// How long the database may take to answer.
const DATABASE_DEADLINE: Duration = Duration::from_secs(2);
/// With less than this free, pushes and logs fail soon.
const FREE_BYTES_MIN: u64 = 256 << 20;

/// A part of the forge that goes round by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    /// Grants slots to lanes.
    Scheduler,
    /// Compares refs with branches, and takes up what nobody holds.
    Caretaker,
    /// Packs repositories and removes what is old.
    Maintenance,
    /// Has tutorials written.
    Tutorials,
    /// Sends events to webhooks.
    Webhooks,
    /// Begins nightlies.
    Nightlies,
}

impl Actor {
    const ALL: [Actor; 6] = [
        Actor::Scheduler,
        Actor::Caretaker,
        Actor::Maintenance,
        Actor::Tutorials,
        Actor::Webhooks,
        Actor::Nightlies,
    ];

    fn name(self) -> &'static str {
        match self {
            Actor::Scheduler => "scheduler",
            Actor::Caretaker => "caretaker",
            Actor::Maintenance => "maintenance",
            Actor::Tutorials => "tutorials",
            Actor::Webhooks => "webhooks",
            Actor::Nightlies => "nightlies",
        }
    }

    /// How long it may be silent: several times what it takes when all is well.
    fn silence_max(self) -> Duration {
        match self {
            Actor::Scheduler | Actor::Webhooks => Duration::from_secs(120),
            // It reads a manifest of each repository.
            Actor::Nightlies => Duration::from_secs(15 * 60),
            // One slow repository after the other.
            Actor::Caretaker => Duration::from_secs(15 * 60),
            Actor::Maintenance => Duration::from_secs(30 * 3600),
            // One is written after the other, and each may take its deadline.
            Actor::Tutorials => Duration::from_secs(25 * 3600),
        }
    }
}

/// When each part last went round.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    last: Mutex<BTreeMap<Actor, i64>>,
}

impl Progress {
    pub(crate) fn note(&self, actor: Actor, now_ms: i64) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(actor, now_ms);
    }

    fn list(&self, now_ms: i64) -> Vec<ActorHealth> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let health = |actor: Actor| {
            let progressed_at_ms = last.get(&actor).copied();
            let silence_max = i64::try_from(actor.silence_max().as_millis()).unwrap_or(i64::MAX);
            // What has not begun is not late: it begins with the forge.
            let is_late = progressed_at_ms.is_some_and(|at| now_ms - at > silence_max);
            ActorHealth { name: actor.name(), progressed_at_ms, is_late }
        };
        Actor::ALL.into_iter().map(health).collect()
    }
}

/// Whether the forge can do its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// `ready`, `starting`, `draining` or `failing`.
    pub status: &'static str,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// The parts that go round by themselves.
    pub actors: Vec<ActorHealth>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub is_ok: bool,
    /// What is wrong with it, and what to do. Names no path and no repository.
    pub problem: Option<String>,
}

impl Check {
    fn new(name: &'static str, problem: Option<String>) -> Check {
        Check { name, is_ok: problem.is_none(), problem }
    }
}

impl Forge {
    /// How the forge is.
    pub async fn health(&self) -> Result<Health, ForgeError> {
        let problem = |hosted: &std::sync::Arc<Hosted>| {
            hosted.find_problem().map(|problem| (hosted.config.name.clone(), problem))
        };
        Ok(Health {
            slots: self.config().ci.slots,
            lanes_running: self.ci().count_live(),
            lanes_queued: self.store().count_queued().await?,
            tutorials_queued: self.store().count_tutorials_queued().await?,
            is_draining: self.ci().is_draining(),
            actors: self.progress().list(self.now_ms()),
            problems: self.all_hosted().iter().filter_map(problem).collect(),
        })
    }

    /// Looks at everything that the forge needs, for whoever decides whether to send it work. Never waits long.
    pub async fn readiness(&self) -> Readiness {
        let data = self.config().data.clone();
        let pikaci = self.ci().program().to_owned();
        let looked = tokio::task::spawn_blocking(move || {
            let is_there = pikaci.components().count() < 2 || pikaci.is_file();
            let program = (!is_there).then(|| "the program `pikaci` is gone; install it again".to_owned());
            vec![Check::new("disk", disk(&data)), Check::new("pikaci", program)]
        });
        let mut checks = vec![Check::new("database", self.database().await)];
        match tokio::time::timeout(DATABASE_DEADLINE, looked).await {
            Ok(Ok(found)) => checks.extend(found),
            Ok(Err(_)) | Err(_) => {
                checks.push(Check::new("disk", Some("the disk does not answer".to_owned())));
            }
        }
        let troubled = self.all_hosted().iter().filter(|hosted| hosted.find_problem().is_some()).count();
        let of_repositories = (troubled > 0)
            .then(|| format!("the refs of {troubled} repositories could not be compared; the log says why"));
        checks.push(Check::new("repositories", of_repositories));
        checks.push(Check::new("configuration", self.find_config_problem()));
        let actors = self.progress().list(self.now_ms());
        // One repository's trouble is its own, and what holds is the configuration that was taken.
        let is_alone = |check: &Check| ["repositories", "configuration"].contains(&check.name);
        let is_failing = checks.iter().any(|check| !check.is_ok && !is_alone(check))
            || actors.iter().any(|actor| actor.is_late);
        let status = match (self.ci().is_draining(), *self.stage().borrow() == Stage::Starting) {
            (true, _) => "draining",
            (false, true) => "starting",
            (false, false) if is_failing => "failing",
            (false, false) => "ready",
        };
        Readiness { status, checks, actors }
    }

    async fn database(&self) -> Option<String> {
        match tokio::time::timeout(DATABASE_DEADLINE, self.store().count_queued()).await {
            Ok(Ok(_)) => None,
            Ok(Err(_)) => Some("the database can't be read; the log says why".to_owned()),
            Err(_) => Some(format!("the database did not answer within {} s", DATABASE_DEADLINE.as_secs())),
        }
    }
}

fn disk(data: &Path) -> Option<String> {
    let Ok(found) = rustix::fs::statvfs(data) else {
        return Some("the data folder can't be looked at".to_owned());
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    (free < FREE_BYTES_MIN)
        .then(|| format!("{} MiB are free in the data folder; make room, or lower `state_max`", free >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_went_round_and_then_fell_silent_is_late_and_one_that_never_began_is_not() {
        let progress = Progress::default();
        progress.note(Actor::Scheduler, 1_000);
        progress.note(Actor::Caretaker, 1_000);
        let late = |now_ms| -> Vec<&str> {
            progress.list(now_ms).into_iter().filter(|actor| actor.is_late).map(|actor| actor.name).collect()
        };
        assert_eq!(late(100_000), [""; 0]);
        assert_eq!(late(200_000), ["scheduler"]);
        assert_eq!(late(10_000_000), ["scheduler", "caretaker"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_said_without_its_path() {
        let problem = disk(Path::new("/nonexistent/secret")).unwrap();
        assert!(!problem.contains("secret"), "{problem}");
    }
}
