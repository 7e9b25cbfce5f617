//! Removes runs and snapshots that are not needed, to a budget of bytes, and says what and why.
//!
//! Invariants: a live run, what it runs on, and the newest runs are never removed; a snapshot stays while a kept run
//! could be run again from it; the policy is a pure function of an inventory.

mod inventory;
mod parts;
mod policy;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pikaci::store::{is_locked, list_runs, load_stored_run_record};
use pikaci::{Digest, RunId, StateRoot, StoreError};

pub use inventory::{Inventory, RunEntry, SnapshotEntry};
pub use policy::{Budget, Reason, Removal, What, plan};

use crate::snapshot::{self, list_path};

/// What half-made runs and snapshots, and what is being removed, are called.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);
const GOING_PREFIX: &str = ".going-";

/// What a collection did.
#[derive(Debug, Default)]
pub struct Collected {
    /// What was removed, in that order.
    pub removed: Vec<Removal>,
    /// What was to be removed and could not be, or turned out to be needed.
    pub spared: Vec<(Removal, String)>,
}

/// Collects. With `is_dry` it only says what it would remove.
pub fn collect(state: &StateRoot, budget: &Budget, is_dry: bool) -> Result<Collected, StoreError> {
    let inventory = inventory::take(state, LEFTOVER_AGE)?;
    let mut collected = Collected::default();
    for removal in plan(&inventory, budget) {
        let removed = if is_dry { Ok(()) } else { remove(state, &removal.what) };
        match removed {
            Ok(()) => collected.removed.push(removal),
            Err(reason) => collected.spared.push((removal, reason)),
        }
    }
    Ok(collected)
}

fn remove(state: &StateRoot, what: &What) -> Result<(), String> {
    match what {
        What::Run { run } => remove_run(state, run),
        What::Artifacts { run } => remove_part(state, run, parts::remove_artifacts),
        What::Logs { run } => remove_part(state, run, parts::remove_logs),
        What::Snapshot { digest } => remove_snapshot(state, digest),
        What::Leftover { path } => snapshot::remove_tree(path).map_err(|error| error.to_string()),
    }
}

fn remove_run(state: &StateRoot, run: &RunId) -> Result<(), String> {
    if is_locked(state, run).map_err(|error| error.to_string())? {
        return Err("it is alive again".to_owned());
    }
    remove_folder(&state.runs_dir(), &state.run_dir(run), run.as_str())
}

fn remove_part(
    state: &StateRoot,
    run: &RunId,
    remove: impl FnOnce(&StateRoot, &RunId) -> io::Result<()>,
) -> Result<(), String> {
    if is_locked(state, run).map_err(|error| error.to_string())? {
        return Err("it is alive again".to_owned());
    }
    remove(state, run).map_err(|error| error.to_string())
}

/// Takes the names of folder and list away first: who looks for the snapshot from now on makes both anew, and keeps
/// them. Then looks once more who could have found it before.
fn remove_snapshot(state: &StateRoot, digest: &Digest) -> Result<(), String> {
    let (folder, list) = (state.snapshot_dir(digest), list_path(&state.snapshots_dir(), digest));
    let going = state.snapshots_dir().join(format!("{GOING_PREFIX}{digest}"));
    let list_going = state.snapshots_dir().join(format!("{GOING_PREFIX}{digest}.files"));
    let text = |error: io::Error| error.to_string();
    if folder.exists() {
        // A folder that can't be written can't be moved by everybody.
        snapshot::make_writable(&folder).map_err(text)?;
        // One that was left by a collector that was killed would be in the way.
        snapshot::remove_tree(&going).map_err(text)?;
        fs::rename(&folder, &going).map_err(text)?;
    }
    let has_list = match fs::rename(&list, &list_going) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error.to_string()),
    };
    if is_wanted(state, digest).map_err(|error| error.to_string())? {
        // Where the run that wants it has made it anew meanwhile, that one stays, and this one is a leftover.
        let restored = fs::rename(&going, &folder).and_then(|()| snapshot::make_read_only(&folder));
        if has_list {
            fs::rename(&list_going, &list).map_err(text)?;
        }
        if !folder.exists() {
            restored.map_err(text)?;
        }
        return Err("a run has begun that needs it".to_owned());
    }
    snapshot::remove_tree(&going).map_err(text)?;
    snapshot::remove_tree(&list_going).map_err(text)
}

/// Whether a live run uses the snapshot, or is about to use one that it has not named yet.
fn is_wanted(state: &StateRoot, digest: &Digest) -> Result<bool, StoreError> {
    for run in list_runs(state)? {
        if is_locked(state, &run)? {
            let used = load_stored_run_record(state, &run).ok().and_then(|record| record.snapshot_digest);
            if used.is_none_or(|used| used == *digest) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Removes a folder that readers may be looking at: it loses its name at once, its content afterwards.
fn remove_folder(parent: &Path, folder: &Path, name: &str) -> Result<(), String> {
    let going: PathBuf = parent.join(format!("{GOING_PREFIX}{name}"));
    fs::rename(folder, &going).and_then(|()| snapshot::remove_tree(&going)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
