//! Finds instances by their keys: the one of an attempt that is taken up, and those that nobody waits for any more.

use incus_client::{Client, Error, Filter, Instance};
use jiff::Timestamp;
use pikaci::store::{is_locked, load_stored_run_record};
use pikaci::{JobId, RunId, RunStatus, StateRoot};

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
    let found = list_of_attempt(client, &attempt.run_id, &attempt.job.id, attempt.number).await?;
    Ok(found.into_iter().next())
}

/// Every instance of an attempt. One, as a rule; more when the server's answer was lost while one was had.
pub(crate) async fn list_of_attempt(
    client: &Client,
    run: &RunId,
    job: &JobId,
    number: u32,
) -> Result<Vec<Instance>, Error> {
    let filter = Filter::all()
        .and_config(key::RUN, run.as_str())
        .and_config(key::JOB, job.as_str())
        .and_config(key::ATTEMPT, number.to_string());
    client.instances(&filter).await
}

/// Deletes every instance of this state root whose run is over or unknown, and every instance of anybody else that is past
/// its deadline. Instances of runs that go on, or that can be taken up again, are left alone, however late it is.
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
    if *owner == settings.owner
        && let Some(run) = instance.config.get(key::RUN)
    {
        // The deadline is for those who can't know better. What a late run has left in its instance may still be taken up.
        return match RunId::parse(run) {
            Ok(run) => is_over(state, &run),
            Err(_) => Some(format!("it names the run {run:?}")),
        };
    }
    let deadline = instance.config.get(key::DEADLINE).and_then(|text| text.parse::<i64>().ok());
    if deadline.is_some_and(|deadline| deadline < Timestamp::now().as_second()) {
        return Some("it is past its deadline".to_owned());
    }
    // Of a pool: idle ones have a deadline, and a dropped one was left half deleted.
    let is_dropped = instance.config.get(key::STATE).is_some_and(|state| state == "dropped");
    (*owner == settings.owner && is_dropped).then(|| "it was dropped from its pool".to_owned())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pikaci::{Event, RunWriter};

    use super::*;

    fn instance(run: &RunId, owner: &str, deadline: i64) -> Instance {
        let config = BTreeMap::from([
            (key::RUN, run.to_string()),
            (key::OWNER, owner.to_owned()),
            (key::DEADLINE, deadline.to_string()),
        ]);
        serde_json::from_value(serde_json::json!({ "name": "one", "type": "container", "config": config }))
            .unwrap()
    }

    #[test]
    fn a_late_instance_of_a_run_that_can_be_taken_up_is_its_own_state_roots_to_keep() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateRoot::new(folder.path());
        let endpoint = incus_client::Endpoint::Unix { socket: "/nowhere".into() };
        let settings = IncusSettings::new(endpoint, folder.path(), "mine");
        let run = RunId::random(Timestamp::now());
        let started: Event = serde_json::from_value(serde_json::json!({
            "event": "run_started", "run_id": run, "created_at": "2026-03-01T14:22:33Z",
        }))
        .unwrap();
        drop(RunWriter::create(&state, &started).unwrap());
        let is_kept =
            |owner: &str, deadline| judge(&instance(&run, owner, deadline), &settings, &state).is_none();
        let (past, future) = (1, i64::MAX);
        assert!(is_kept("mine", past), "its result would be lost");
        assert!(is_kept("mine", future) && is_kept("other", future));
        assert!(!is_kept("other", past), "nobody else may know of it any more");
        let unknown = RunId::random(Timestamp::UNIX_EPOCH);
        assert!(judge(&instance(&unknown, "mine", future), &settings, &state).is_some());
    }
}
