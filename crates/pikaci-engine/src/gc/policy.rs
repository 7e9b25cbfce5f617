//! What is removed. Pure: an inventory in, removals out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use pikaci::{Digest, RunId};

use super::inventory::{Inventory, SnapshotEntry};

/// What a state root may weigh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The most bytes of runs and snapshots together.
    pub bytes_max: u64,
    /// How many of the newest runs are kept whatever they weigh.
    pub runs_min: usize,
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
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Run { run } => write!(formatter, "run {run}"),
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
    for entry in inventory.runs.iter().skip(budget.runs_min).rev().filter(|entry| !entry.is_live) {
        if kept.bytes() <= budget.bytes_max {
            break;
        }
        kept.runs.remove(&entry.run);
        let what = What::Run { run: entry.run.clone() };
        removals.push(Removal { what, reason: Reason::OverBudget, bytes: entry.bytes });
        drop_unneeded(&mut kept, &mut removals);
    }
    removals
}

/// What is left so far.
struct Kept<'i> {
    runs: BTreeMap<RunId, (u64, Option<Digest>)>,
    snapshots: Vec<&'i SnapshotEntry>,
    /// How many of the snapshots hold a file, and what it weighs.
    files: BTreeMap<u64, (usize, u64)>,
}

impl<'i> Kept<'i> {
    fn new(inventory: &'i Inventory) -> Kept<'i> {
        let mut files = BTreeMap::new();
        for (inode, bytes) in inventory.snapshots.iter().flat_map(|snapshot| &snapshot.files) {
            files.entry(*inode).or_insert((0, *bytes)).0 += 1;
        }
        let runs =
            inventory.runs.iter().map(|entry| (entry.run.clone(), (entry.bytes, entry.snapshot.clone())));
        Kept { runs: runs.collect(), snapshots: inventory.snapshots.iter().collect(), files }
    }

    fn bytes(&self) -> u64 {
        let runs: u64 = self.runs.values().map(|(bytes, _)| bytes).sum();
        runs + self.files.values().map(|(_, bytes)| bytes).sum::<u64>()
    }

    fn drop_unneeded(&mut self, newest: Option<&Digest>) -> Vec<Removal> {
        let needed: BTreeSet<&Digest> =
            self.runs.values().filter_map(|(_, snapshot)| snapshot.as_ref()).collect();
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
