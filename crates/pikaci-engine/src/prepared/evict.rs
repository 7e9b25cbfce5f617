//! Removes outputs that nobody uses, to a budget of bytes, and what builds that were killed have left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pikaci::store::{list_runs, load_prepared_outputs_record};
use pikaci::{Digest, Provider, RunId, StateRoot, StoreError};

use super::store::{Kept, Store, UseError};

const OVER_BUDGET: &str = "over the budget, and longest unused";

/// What the outputs of a state root may weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedBudget {
    /// The most bytes of all outputs together, with the logs of builds that failed. A path of the Nix store that several outputs
    /// refer to counts once.
    pub bytes_max: u64,
    /// Outputs of so many of the newest runs are kept whatever they weigh.
    pub runs_min: usize,
}

/// What an eviction did.
#[derive(Debug, Default)]
pub struct Eviction {
    /// What was removed, with the bytes that are free now or, where Nix built it, as soon as Nix collects; and why.
    pub removed: Vec<(Kept, u64, &'static str)>,
    /// What was to be removed and is in use.
    pub spared: Vec<(Kept, String)>,
    /// What was to be removed and could not be.
    pub stuck: Vec<(Kept, String)>,
    /// Builds that failed and are not remembered any more.
    pub failures: usize,
    /// Half-made folders, and roots and locks of nothing, that were removed.
    pub leftovers: usize,
}

enum Candidate {
    Output(Box<Kept>),
    Failure(Digest, u64),
}

/// Evicts, the longest unused first. With `is_dry` it only says what it would remove.
pub fn evict(state: &StateRoot, budget: &PreparedBudget, is_dry: bool) -> Result<Eviction, StoreError> {
    let store = Store::new(state);
    let mut eviction = Eviction::default();
    let newest: Vec<RunId> = list_runs(state)?.into_iter().take(budget.runs_min).collect();
    let needed = needed(state, &newest);
    let kept = store.list();
    let mut weights = Weights::of(&kept);
    let mut candidates: Vec<Candidate> =
        kept.into_iter().map(|kept| Candidate::Output(Box::new(kept))).collect();
    for (key, run) in store.failed() {
        let bytes = store.failure_bytes(&key);
        weights.sum += bytes;
        if !newest.contains(&run) {
            candidates.push(Candidate::Failure(key, bytes));
        }
    }
    candidates
        .sort_by_cached_key(|candidate| store.used_at(candidate.key()).unwrap_or(SystemTime::UNIX_EPOCH));
    for candidate in candidates {
        if weights.sum <= budget.bytes_max {
            break;
        }
        match candidate {
            Candidate::Failure(key, bytes) => {
                if is_dry || store.remove(&key, OVER_BUDGET).is_ok() {
                    weights.sum = weights.sum.saturating_sub(bytes);
                    eviction.failures += 1;
                }
            }
            // What weighs nothing makes no room.
            Candidate::Output(one) if needed.contains(&one.key) || one.closure_bytes == 0 => {}
            Candidate::Output(one) => {
                let removed = match is_dry {
                    true => store.lock_unused(&one.key).map(|_| 0),
                    false => store.remove(&one.key, OVER_BUDGET),
                };
                match removed {
                    Ok(_) => {
                        let freed = weights.release(&one);
                        eviction.removed.push((*one, freed, OVER_BUDGET));
                    }
                    Err(UseError::Store(error)) => return Err(error),
                    Err(error @ UseError::Io { .. }) => eviction.stuck.push((*one, error.to_string())),
                    Err(error) => eviction.spared.push((*one, error.to_string())),
                }
            }
        }
    }
    eviction.leftovers = store.clear_leftovers(is_dry);
    Ok(eviction)
}

impl Candidate {
    fn key(&self) -> &Digest {
        match self {
            Candidate::Output(kept) => &kept.key,
            Candidate::Failure(key, _) => key,
        }
    }
}

/// What the outputs weigh together, and how many of them refer to each path of the Nix store.
struct Weights {
    sum: u64,
    paths: BTreeMap<PathBuf, (u64, usize)>,
}

impl Weights {
    fn of(kept: &[Kept]) -> Weights {
        let mut weights = Weights { sum: 0, paths: BTreeMap::new() };
        for one in kept {
            match one.provider {
                Provider::Command => weights.sum += one.closure_bytes,
                Provider::Nix => {
                    for (path, bytes) in paths(one) {
                        let (_, users) = weights.paths.entry(path.to_owned()).or_insert_with(|| {
                            weights.sum += bytes;
                            (bytes, 0)
                        });
                        *users += 1;
                    }
                }
            }
        }
        weights
    }

    /// Takes an output away. Returns what only it weighed.
    fn release(&mut self, one: &Kept) -> u64 {
        let freed = match one.provider {
            Provider::Command => one.closure_bytes,
            Provider::Nix => {
                let mut freed = 0;
                for (path, _) in paths(one) {
                    if let Some((bytes, users)) = self.paths.get_mut(path) {
                        *users = users.saturating_sub(1);
                        freed += if *users == 0 { *bytes } else { 0 };
                    }
                }
                freed
            }
        };
        self.sum = self.sum.saturating_sub(freed);
        freed
    }
}

/// The store paths of an output. One whose record is older than their sizes has them all in its own.
fn paths(one: &Kept) -> impl Iterator<Item = (&Path, u64)> {
    let has_sizes = one.closure.iter().any(|store| store.bytes > 0);
    one.closure.iter().map(move |store| {
        let whole = if store.path == one.realised_path { one.closure_bytes } else { 0 };
        (store.path.as_path(), if has_sizes { store.bytes } else { whole })
    })
}

/// The outputs of the newest runs.
fn needed(state: &StateRoot, newest: &[RunId]) -> BTreeSet<Digest> {
    let records = newest.iter().filter_map(|run| load_prepared_outputs_record(state, run).ok().flatten());
    records.flat_map(|record| record.outputs).filter_map(|output| output.key).collect()
}

/// What a file takes on the disk; nothing when it is not there.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}
