//! Nightlies: once a day, the targets with `on = ["nightly"]` are run at the default branch's head.
//!
//! Invariants: what was due while the forge was away is run once, not once for each day; the next one waits for the end of the one
//! before; what is run, and that it is, stands in one transaction.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::health::Actor;
use super::view::{Change, PlacedLaneRunView};
use super::{Forge, ForgeError, Hosted};
use crate::ci::select;
use crate::forge::state::LaneRunStatus;
use crate::store::{BeganNightly, LaneRunsOf, NewNightly, NightlyRecord};

/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Where a nightly stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NightlyState {
    /// A lane of it waits or runs.
    Running,
    /// All its lanes passed.
    Passed,
    /// A lane of it did not.
    Failed,
    /// There was nothing to run; `message` says why.
    Nothing,
}

/// A nightly.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Nightly {
    /// Its number.
    pub id: i64,
    /// Its repository's name.
    pub repository: String,
    /// When it was due, in milliseconds since the Unix epoch.
    pub due_at_ms: i64,
    /// When it began.
    pub began_at_ms: i64,
    /// The commit that it tests.
    pub head_oid: Option<String>,
    /// Where it stands.
    pub state: NightlyState,
    /// Why nothing was run.
    pub message: Option<String>,
    /// The latest attempt at each of its lanes.
    pub runs: Vec<PlacedLaneRunView>,
}

impl Forge {
    /// Begins nightlies when they are due, until it is dropped.
    pub(crate) async fn keep_nightlies(&self) {
        loop {
            self.progress().note(Actor::Nightlies, self.now_ms());
            self.begin_nightlies().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Begins what is due. One repository's trouble is its own.
    pub(crate) async fn begin_nightlies(&self) {
        for hosted in self.all_hosted() {
            let Some(at) = hosted.config.nightly else { continue };
            if let Err(error) = self.begin_nightly(&hosted, at).await {
                tracing::warn!(repository = hosted.config.name, %error, "the nightly could not be begun");
            }
        }
    }

    async fn begin_nightly(&self, hosted: &Hosted, at: Time) -> Result<(), ForgeError> {
        let now = self.now();
        let Some(due) = latest_due(now, at) else { return Ok(()) };
        if due.as_millisecond() <= self.store().nightly_since(hosted.id, now.as_millisecond()).await? {
            return Ok(());
        }
        let default_branch = hosted.default_branch.as_str();
        let branch = self.store().find_branch_named(hosted.id, default_branch).await?;
        let (lanes, message) =
            match (&branch, select::default_manifest(&hosted.git, &hosted.default_branch).await?) {
                (Some(_), Some(manifest)) => {
                    let lanes = select::nightly_lanes(&manifest);
                    let message = lanes
                        .is_empty()
                        .then(|| "no target of the default branch has `on = [\"nightly\"]`".to_owned());
                    (lanes, message)
                }
                _ => (Vec::new(), Some("the default branch has no manifest that can be read".to_owned())),
            };
        let new = NewNightly {
            repository_id: hosted.id,
            due_at_ms: due.as_millisecond(),
            head_id: branch.as_ref().map(|branch| branch.head_id),
            lanes,
            message,
            now_ms: now.as_millisecond(),
        };
        let said = match self.store().begin_nightly(new).await? {
            BeganNightly::Began => "the nightly has begun",
            BeganNightly::Busy => "the last nightly still runs",
            BeganNightly::Done => return Ok(()),
        };
        tracing::info!(repository = hosted.config.name, said);
        self.ci().wake();
        if let Some(branch) = branch {
            let repository = hosted.config.name.clone();
            self.announce(Change { repository, branch_id: branch.id, lane_run_id: None });
        }
        Ok(())
    }

    /// Lists the nightlies of these repositories, the latest first, after one.
    pub async fn nightlies_after(
        &self,
        repositories: &[String],
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Nightly>, ForgeError> {
        let of = self.all_hosted().into_iter().filter(|hosted| repositories.contains(&hosted.config.name));
        let ids = of.map(|hosted| hosted.id).collect();
        let mut nightlies = Vec::new();
        for found in self.store().list_nightlies(ids, after, limit).await? {
            let runs =
                self.store().list_lane_runs(LaneRunsOf::These(found.runs.clone()), None, u32::MAX).await?;
            let runs = runs.into_iter().filter_map(|run| self.placed(run)).collect();
            if let Some(hosted) = self.hosted_by_id(found.repository_id) {
                nightlies.push(shown(&hosted, found, runs));
            }
        }
        Ok(nightlies)
    }
}

fn shown(hosted: &Hosted, found: NightlyRecord, runs: Vec<PlacedLaneRunView>) -> Nightly {
    let state = if runs.is_empty() {
        NightlyState::Nothing
    } else if runs.iter().any(|run| run.run.status != LaneRunStatus::Finished) {
        NightlyState::Running
    } else if runs.iter().all(|run| run.run.outcome == Some(pikaci::Outcome::Passed)) {
        NightlyState::Passed
    } else {
        NightlyState::Failed
    };
    Nightly {
        id: found.id,
        repository: hosted.config.name.clone(),
        due_at_ms: found.due_at_ms,
        began_at_ms: found.began_at_ms,
        head_oid: found.head_oid,
        state,
        message: found.message,
        runs,
    }
}

/// The last time, in UTC, that the clock showed this.
fn latest_due(now: Timestamp, at: Time) -> Option<Timestamp> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let of = |date: jiff::civil::Date| {
        date.to_datetime(at).to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    of(today).filter(|due| *due <= now).or_else(|| of(today.yesterday().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_the_last_time_that_the_clock_showed() {
        let due =
            |now: &str| latest_due(now.parse().unwrap(), jiff::civil::time(3, 30, 0, 0)).unwrap().to_string();
        assert_eq!(due("2026-03-01T03:30:00Z"), "2026-03-01T03:30:00Z");
        assert_eq!(due("2026-03-01T23:59:59Z"), "2026-03-01T03:30:00Z");
        assert_eq!(due("2026-03-01T03:29:59Z"), "2026-02-28T03:30:00Z");
    }
}
