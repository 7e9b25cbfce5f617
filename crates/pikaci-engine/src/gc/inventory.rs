//! What a state root holds, and what it weighs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use pikaci::store::{is_locked, list_runs, load_stored_run_record};
use pikaci::{Digest, RunId, RunStatus, StateRoot, StoreError};

use super::parts;
use crate::snapshot::{CACHE_FOLDER, list_path};

/// Everything that a state root holds.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The runs, newest first.
    pub runs: Vec<RunEntry>,
    /// The snapshots, newest first.
    pub snapshots: Vec<SnapshotEntry>,
    /// What a killed process left half-made, old enough that nobody works on it.
    pub leftovers: Vec<(PathBuf, u64)>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct RunEntry {
    /// The run.
    pub run: RunId,
    /// Whether a process writes it, or it waits to be swept.
    pub is_live: bool,
    /// What it ran on; `None`: not known.
    pub snapshot: Option<Digest>,
    /// When it began; not known of one whose record can't be read.
    pub created_at: Option<Timestamp>,
    /// What its folder weighs.
    pub bytes: u64,
    /// What of that are logs that are worth to be removed.
    pub logs: u64,
    /// What of that its jobs have left beside their logs and results.
    pub artifacts: u64,
}

/// One snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotEntry {
    /// Its address.
    pub digest: Digest,
    /// Its files by inode, with their bytes: snapshots share files.
    pub files: BTreeMap<u64, u64>,
}

/// Looks at a state root. One run that can't be read counts as live: nobody knows what it needs.
pub(super) fn take(state: &StateRoot, leftover_age: Duration) -> Result<Inventory, StoreError> {
    let mut inventory = Inventory::default();
    for run in list_runs(state)? {
        let record = load_stored_run_record(state, &run).ok();
        let is_finished = record.as_ref().is_some_and(|record| record.status != RunStatus::Running);
        let bytes = weigh(&state.run_dir(&run)).values().sum();
        let is_live = !is_finished || is_locked(state, &run)?;
        let weigh_all = |parts: Vec<PathBuf>| parts.iter().map(|path| weigh_one(path)).sum();
        inventory.runs.push(RunEntry {
            is_live,
            created_at: record.as_ref().map(|record| record.created_at),
            snapshot: record.and_then(|record| record.snapshot_digest),
            bytes,
            logs: weigh_all(parts::logs(state, &run)),
            artifacts: weigh_all(parts::artifacts(state, &run)),
            run,
        });
    }
    let mut snapshots = Vec::new();
    for (path, metadata) in entries(&state.snapshots_dir()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Ok(digest) = Digest::parse(&name) {
            let mut files = weigh(&path);
            if let Ok(list) = fs::symlink_metadata(list_path(&state.snapshots_dir(), &digest)) {
                files.insert(list.ino(), list.blocks() * 512);
            }
            snapshots.push((metadata.modified().ok(), SnapshotEntry { digest, files }));
        } else if is_leftover(&name, &metadata, leftover_age)
            || (is_list_alone(&path, &name) && is_older(&metadata, leftover_age))
        {
            let bytes = if metadata.is_dir() { weigh(&path).values().sum() } else { metadata.blocks() * 512 };
            inventory.leftovers.push((path, bytes));
        }
    }
    snapshots.sort_by_key(|(made, _)| std::cmp::Reverse(*made));
    inventory.snapshots = snapshots.into_iter().map(|(_, snapshot)| snapshot).collect();
    for (path, metadata) in entries(&state.runs_dir()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_leftover(&name, &metadata, leftover_age) {
            let bytes = weigh(&path).values().sum();
            inventory.leftovers.push((path, bytes));
        }
    }
    Ok(inventory)
}

/// Names that begin with a dot are of work in hand, or of work that was killed; the cache is neither.
fn is_leftover(name: &str, metadata: &fs::Metadata, age: Duration) -> bool {
    name.starts_with('.') && name != CACHE_FOLDER && is_older(metadata, age)
}

/// The list of a snapshot whose folder never got its name, or has lost it.
fn is_list_alone(path: &Path, name: &str) -> bool {
    name.strip_suffix(".files").is_some_and(|digest| Digest::parse(digest).is_ok())
        && !path.with_extension("").exists()
}

fn is_older(metadata: &fs::Metadata, age: Duration) -> bool {
    metadata.modified().ok().and_then(|at| at.elapsed().ok()).is_some_and(|elapsed| elapsed >= age)
}

fn entries(folder: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))).collect()
}

fn weigh_one(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => weigh(path).values().sum(),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    }
}

/// The files below a folder by inode, with what they take on the disk. No link is followed.
fn weigh(folder: &Path) -> BTreeMap<u64, u64> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        // What disappears while it is looked at weighs nothing.
        for (path, metadata) in entries(&next) {
            if metadata.is_dir() {
                folders.push(path);
            } else {
                files.insert(metadata.ino(), metadata.blocks() * 512);
            }
        }
    }
    files
}
