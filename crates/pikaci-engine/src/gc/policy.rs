//! What is removed. Pure: an inventory in, removals out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use pikaci::{Digest, RunId};

use super::inventory::{Inventory, RunEntry, SnapshotEntry};

/// What a state root may weigh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The most bytes of runs and snapshots together.
    pub bytes_max: u64,
    /// The most bytes of snapshots; the oldest runs go with theirs.
    pub snapshot_bytes_max: u64,
    /// The most bytes of logs; those of the oldest runs go, and their records stay.
    pub log_bytes_max: u64,
    /// The most bytes of artifacts; those of the oldest runs go, and their logs and records stay.
    pub artifact_bytes_max: u64,
    /// Runs that began before this go.
    pub not_before: Option<Timestamp>,
    /// How many of the newest runs are kept whatever they weigh.
    pub runs_min: usize,
}

impl Budget {
    /// Keeps these newest runs, and everything else.
    pub fn keeping(runs_min: usize) -> Budget {
        Budget {
            bytes_max: u64::MAX,
            snapshot_bytes_max: u64::MAX,
            log_bytes_max: u64::MAX,
            artifact_bytes_max: u64::MAX,
            not_before: None,
            runs_min,
        }
    }
}

/// Something that is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// What.
    pub what: What,
    /// Why.
    pub reason: Reason,
    /// How many bytes that frees.
    pub bytes: u64,
}

/// What is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A run with its logs and artifacts.
    Run {
        /// The run.
        run: RunId,
    },
    /// What the jobs of a run have left beside their logs and results.
    Artifacts {
        /// The run.
        run: RunId,
    },
    /// The long logs of a run; in the place of each stands a line that says so.
    Logs {
        /// The run.
        run: RunId,
    },
    /// A frozen tree.
    Snapshot {
        /// Its address.
        digest: Digest,
    },
    /// What a killed process left half-made.
    Leftover {
        /// Where it is.
        path: PathBuf,
    },
}

/// Why something is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody works on it any more.
    HalfMade,
    /// No run that is kept could be run again from it.
    Unneeded,
    /// The budget was exceeded, and it was the oldest.
    OverBudget,
    /// It is older than anything is kept.
    TooOld,
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Run { run } => write!(formatter, "run {run}"),
            What::Artifacts { run } => write!(formatter, "artifacts of run {run}"),
            What::Logs { run } => write!(formatter, "logs of run {run}"),
            What::Snapshot { digest } => write!(formatter, "snapshot {:.12}", digest.as_str()),
            What::Leftover { path } => write!(formatter, "{}", path.display()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Reason::HalfMade => "half-made by a process that is gone",
            Reason::Unneeded => "no run that is kept needs it",
            Reason::OverBudget => "over the budget, and the oldest",
            Reason::TooOld => "older than what is kept",
        })
    }
}

/// Decides what is removed, in the order in which to remove it.
pub fn plan(inventory: &Inventory, budget: &Budget) -> Vec<Removal> {
    let leftovers = inventory.leftovers.iter().map(|(path, bytes)| Removal {
        what: What::Leftover { path: path.clone() },
        reason: Reason::HalfMade,
        bytes: *bytes,
    });
    let mut removals: Vec<Removal> = leftovers.collect();
    let mut kept = Kept::new(inventory);
    // A live run without a snapshot is about to take one, and it could be any.
    let may_remove_snapshots = !inventory.runs.iter().any(|run| run.is_live && run.snapshot.is_none());
    // The newest snapshot is what the next one links to.
    let newest = inventory.snapshots.first().map(|snapshot| snapshot.digest.clone());
    let drop_unneeded = |kept: &mut Kept<'_>, removals: &mut Vec<Removal>| {
        if may_remove_snapshots {
            removals.extend(kept.drop_unneeded(newest.as_ref()));
        }
    };
    drop_unneeded(&mut kept, &mut removals);
    let oldest_first = || inventory.runs.iter().skip(budget.runs_min).rev().filter(|entry| !entry.is_live);
    for entry in oldest_first().filter(|entry| is_too_old(entry, budget)) {
        let what = What::Run { run: entry.run.clone() };
        removals.push(Removal { what, reason: Reason::TooOld, bytes: kept.drop_run(&entry.run) });
    }
    drop_unneeded(&mut kept, &mut removals);
    // What a run can be without goes before the run.
    for entry in oldest_first() {
        let (logs, artifacts) = kept.parts();
        if artifacts > budget.artifact_bytes_max {
            let what = What::Artifacts { run: entry.run.clone() };
            removals.extend(kept.drop_part(&entry.run, what, |run| &mut run.artifacts));
        }
        if logs > budget.log_bytes_max {
            let what = What::Logs { run: entry.run.clone() };
            removals.extend(kept.drop_part(&entry.run, what, |run| &mut run.logs));
        }
    }
    for entry in oldest_first() {
        if kept.bytes() <= budget.bytes_max && kept.snapshot_bytes() <= budget.snapshot_bytes_max {
            break;
        }
        if kept.runs.contains_key(&entry.run) {
            let what = What::Run { run: entry.run.clone() };
            removals.push(Removal { what, reason: Reason::OverBudget, bytes: kept.drop_run(&entry.run) });
            drop_unneeded(&mut kept, &mut removals);
        }
    }
    removals
}

fn is_too_old(entry: &RunEntry, budget: &Budget) -> bool {
    budget.not_before.is_some_and(|not_before| entry.created_at.is_some_and(|at| at < not_before))
}

/// What is left so far.
struct Kept<'i> {
    runs: BTreeMap<RunId, KeptRun>,
    snapshots: Vec<&'i SnapshotEntry>,
    /// How many of the snapshots hold a file, and what it weighs.
    files: BTreeMap<u64, (usize, u64)>,
}

struct KeptRun {
    bytes: u64,
    logs: u64,
    artifacts: u64,
    snapshot: Option<Digest>,
}

impl<'i> Kept<'i> {
    fn new(inventory: &'i Inventory) -> Kept<'i> {
        let mut files = BTreeMap::new();
        for (inode, bytes) in inventory.snapshots.iter().flat_map(|snapshot| &snapshot.files) {
            files.entry(*inode).or_insert((0, *bytes)).0 += 1;
        }
        let runs = inventory.runs.iter().map(|entry| {
            let RunEntry { bytes, logs, artifacts, .. } = *entry;
            (entry.run.clone(), KeptRun { bytes, logs, artifacts, snapshot: entry.snapshot.clone() })
        });
        Kept { runs: runs.collect(), snapshots: inventory.snapshots.iter().collect(), files }
    }

    fn bytes(&self) -> u64 {
        self.runs.values().map(|run| run.bytes).sum::<u64>() + self.snapshot_bytes()
    }

    fn snapshot_bytes(&self) -> u64 {
        self.files.values().map(|(_, bytes)| bytes).sum()
    }

    /// What the logs and the artifacts of all runs weigh.
    fn parts(&self) -> (u64, u64) {
        self.runs.values().fold((0, 0), |(logs, artifacts), run| (logs + run.logs, artifacts + run.artifacts))
    }

    /// Drops a run and says what it weighed.
    fn drop_run(&mut self, run: &RunId) -> u64 {
        self.runs.remove(run).map_or(0, |run| run.bytes)
    }

    /// Drops a part of a run, if it has one.
    fn drop_part(
        &mut self,
        run: &RunId,
        what: What,
        part: impl FnOnce(&mut KeptRun) -> &mut u64,
    ) -> Option<Removal> {
        let kept = self.runs.get_mut(run)?;
        let bytes = std::mem::take(part(kept));
        kept.bytes = kept.bytes.saturating_sub(bytes);
        (bytes > 0).then_some(Removal { what, reason: Reason::OverBudget, bytes })
    }

    fn drop_unneeded(&mut self, newest: Option<&Digest>) -> Vec<Removal> {
        let needed: BTreeSet<&Digest> = self.runs.values().filter_map(|run| run.snapshot.as_ref()).collect();
        let is_kept =
            |entry: &&SnapshotEntry| needed.contains(&entry.digest) || newest == Some(&entry.digest);
        let (kept, dropped): (Vec<_>, Vec<_>) = self.snapshots.iter().copied().partition(is_kept);
        self.snapshots = kept;
        let mut removals = Vec::new();
        for entry in dropped {
            let mut freed = 0;
            for inode in entry.files.keys() {
                if let Some((holders, bytes)) = self.files.get_mut(inode) {
                    *holders -= 1;
                    if *holders == 0 {
                        freed += *bytes;
                        self.files.remove(inode);
                    }
                }
            }
            let what = What::Snapshot { digest: entry.digest.clone() };
            removals.push(Removal { what, reason: Reason::Unneeded, bytes: freed });
        }
        removals
    }
}
