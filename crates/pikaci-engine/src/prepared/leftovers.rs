//! What builds that were killed have left beside the outputs: half-made folders, roots, locks, and graves without number.
//!
//! Invariant: what belongs to a key is removed with the key's lock in hand, so that nobody builds or uses it meanwhile.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pikaci::store::{Durability, is_locked, replace};
use pikaci::{Digest, RunId};

use super::store::{GOING_PREFIX, LOCKS, NEW_PREFIX, ROOTS, Store, TOMBSTONES};
use crate::snapshot::remove_tree;

/// How long nobody must have worked on what a build left half-made.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);
const TOMBSTONES_KEPT: usize = 1000;
const TOMBSTONES_MAX: usize = 2 * TOMBSTONES_KEPT;
const UNREADABLE: &str = "unreadable, or gone from the Nix store";

impl Store {
    /// Removes all of that. Returns how much there was. What can't be removed now is found again.
    pub(super) fn clear_leftovers(&self, is_dry: bool) -> usize {
        let half_made = self.half_made();
        let lost = self.lost();
        if !is_dry {
            for path in &half_made {
                let _ = remove_tree(path);
            }
            let _ = self.thin_tombstones();
        }
        let mut count = half_made.len();
        for key in lost {
            count += usize::from(is_dry || self.remove(&key, UNREADABLE).is_ok());
        }
        for root in entries(&self.dir().join(ROOTS)) {
            count += usize::from(self.clear_of_nothing(&root, Duration::ZERO, is_dry));
        }
        for lock in entries(&self.dir().join(LOCKS)) {
            count += usize::from(self.clear_of_nothing(&lock, LEFTOVER_AGE, is_dry));
        }
        count
    }

    /// Removes what a run that nobody writes has left half-made.
    pub(crate) fn clear_half_made(&self, run: &RunId) {
        if is_locked(self.state(), run).unwrap_or(true) {
            return;
        }
        let start = format!("{NEW_PREFIX}{run}-");
        for path in entries(self.dir()).into_iter().filter(|path| name(path).starts_with(&start)) {
            // What can't be removed now is found again.
            let _ = remove_tree(&path);
        }
    }

    /// Folders that a killed process left behind, when nobody can be at work in them.
    fn half_made(&self) -> Vec<PathBuf> {
        let is_half = |path: &PathBuf| {
            let name = name(path);
            (name.starts_with(NEW_PREFIX) || name.starts_with(GOING_PREFIX))
                && is_older(path, LEFTOVER_AGE)
                && !self.is_of_live_run(&name)
        };
        entries(self.dir()).into_iter().filter(is_half).collect()
    }

    /// A build's folder is named after its run.
    fn is_of_live_run(&self, name: &str) -> bool {
        let run = name.strip_prefix(NEW_PREFIX).and_then(|rest| rest.get(..25));
        run.and_then(|run| pikaci::RunId::parse(run).ok())
            .is_some_and(|run| is_locked(self.state(), &run).unwrap_or(true))
    }

    /// Outputs that nobody can use.
    fn lost(&self) -> Vec<Digest> {
        let folders = entries(self.dir()).into_iter().filter(|path| is_older(path, LEFTOVER_AGE));
        let keys = folders.filter_map(|path| Digest::parse(&name(&path)).ok());
        keys.filter(|key| self.find(key).is_none()).collect()
    }

    /// Removes a root or a lock that is old enough and belongs to nothing. Says whether it does.
    fn clear_of_nothing(&self, path: &Path, age: Duration, is_dry: bool) -> bool {
        let Ok(key) = Digest::parse(&name(path)) else { return false };
        let is_of_nothing =
            || !self.folder(&key).exists() && self.failure(&key).is_none() && is_older(path, age);
        if !is_of_nothing() {
            return false;
        }
        let Ok(lock) = self.open_lock(&key) else { return false };
        if lock.try_lock().is_err() || !self.is_current(&key, &lock) || !is_of_nothing() {
            return false;
        }
        is_dry || fs::remove_file(path).is_ok()
    }

    /// Forgets the oldest graves. One that is dug at this moment may be lost.
    fn thin_tombstones(&self) -> io::Result<()> {
        let path = self.dir().join(TOMBSTONES);
        let text = fs::read_to_string(&path)?;
        let count = text.lines().count();
        if count <= TOMBSTONES_MAX {
            return Ok(());
        }
        let rest: String = text.lines().skip(count - TOMBSTONES_KEPT).flat_map(|line| [line, "\n"]).collect();
        replace(&path, rest.as_bytes(), Durability::Process)
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    age.is_zero() || modified.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed >= age))
}
