//! Finds instances by their keys: the one of an attempt that is taken up, and those that nobody waits for any more.

use incus_client::{Client, Error, Filter, Instance};
use jiff::Timestamp;
use pikaci::store::{is_locked, load_stored_run_record};
use pikaci::{RunId, RunStatus, StateRoot};

use super::context::key;
use super::{Attempt, IncusSettings};

/// An instance that a sweep found without a use.
#[derive(Debug)]
pub struct Orphan {
    /// The instance.
    pub instance: String,
    /// Why it is one.
    pub reason: String,
    /// Whether it is gone now.
    pub deleted: Result<(), Error>,
}

/// The instance of an attempt, by its keys: one of a pool has a name of its own.
pub(crate) async fn find(client: &Client, attempt: &Attempt) -> Result<Option<Instance>, Error> {
    let found = client.instances(&Filter::all().and_config(key::RUN, attempt.run_id.as_str())).await?;
    let number = attempt.number.to_string();
    let is_it = |instance: &Instance| {
        let has = |name: &str, value: &str| instance.config.get(name).is_some_and(|found| found == value);
        has(key::RUN, attempt.run_id.as_str())
            && has(key::JOB, attempt.job.id.as_str())
            && has(key::ATTEMPT, &number)
    };
    Ok(found.into_iter().find(is_it))
}

/// Deletes every instance of this state root whose run is over or unknown, and every instance of anybody that is past its
/// deadline. Instances of runs that go on, or that can be taken up again, are left alone.
pub async fn sweep(
    client: &Client,
    settings: &IncusSettings,
    state: &StateRoot,
) -> Result<Vec<Orphan>, Error> {
    // Listed first: a run is on disk before its instances are made.
    let instances = client.instances(&Filter::all()).await?;
    let mut orphans = Vec::new();
    for instance in instances {
        let Some(reason) = judge(&instance, settings, state) else { continue };
        let deleted = client.destroy_instance(&instance.name).await;
        orphans.push(Orphan { instance: instance.name, reason, deleted });
    }
    Ok(orphans)
}

fn judge(instance: &Instance, settings: &IncusSettings, state: &StateRoot) -> Option<String> {
    // Without an owner it is none of pikaci's.
    let owner = instance.config.get(key::OWNER)?;
    let deadline = instance.config.get(key::DEADLINE).and_then(|text| text.parse::<i64>().ok());
    if deadline.is_some_and(|deadline| deadline < Timestamp::now().as_second()) {
        return Some("it is past its deadline".to_owned());
    }
    if *owner != settings.owner {
        return None;
    }
    let Some(run) = instance.config.get(key::RUN) else {
        // Of a pool: idle ones have a deadline, and a dropped one was left half deleted.
        let is_dropped = instance.config.get(key::STATE).is_some_and(|state| state == "dropped");
        return is_dropped.then(|| "it was dropped from its pool".to_owned());
    };
    let Ok(run) = RunId::parse(run) else { return Some(format!("it names the run {run:?}")) };
    is_over(state, &run)
}

/// Why nobody waits for the instances of a run; `None` when somebody does, or may.
fn is_over(state: &StateRoot, run: &RunId) -> Option<String> {
    if !state.run_dir(run).exists() {
        return Some(format!("there is no run {run}"));
    }
    // Its own process deletes what it made.
    if is_locked(state, run).unwrap_or(true) {
        return None;
    }
    match load_stored_run_record(state, run) {
        Ok(record) if record.status == RunStatus::Running => None,
        Ok(_) => Some(format!("run {run} is over")),
        Err(error) if error.is_not_found() => Some(format!("there is no run {run}")),
        // What can't be read may be mended.
        Err(_) => None,
    }
}
