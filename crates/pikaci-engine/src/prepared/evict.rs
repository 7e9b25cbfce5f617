//! Removes outputs that nobody uses, to a budget of bytes.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use pikaci::store::{is_locked, list_runs, load_prepared_outputs_record};
use pikaci::{Digest, StateRoot, StoreError};

use super::store::{Kept, Store, UseError};
use crate::snapshot::remove_tree;

/// How long nobody must have worked on what a build left half-made.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);
const OVER_BUDGET: &str = "over the budget, and longest unused";

/// What the outputs of a state root may weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedBudget {
    /// The most bytes of all outputs of commands together. What Nix built is Nix' to weigh.
    pub bytes_max: u64,
    /// Outputs of so many of the newest runs are kept whatever they weigh.
    pub runs_min: usize,
}

/// What an eviction did.
#[derive(Debug, Default)]
pub struct Eviction {
    /// What was removed, with its bytes, and why.
    pub removed: Vec<(Kept, u64, &'static str)>,
    /// What was to be removed and is in use.
    pub spared: Vec<(Kept, String)>,
    /// Half-made folders that were removed.
    pub leftovers: usize,
}

/// Evicts, the longest unused first. With `is_dry` it only says what it would remove.
pub fn evict(state: &StateRoot, budget: &PreparedBudget, is_dry: bool) -> Result<Eviction, StoreError> {
    let store = Store::new(state);
    let mut eviction = Eviction::default();
    let needed = needed(state, budget.runs_min)?;
    let mut kept = store.list();
    let bytes = |kept: &Kept| if kept.closure.is_empty() { kept.closure_bytes } else { 0 };
    let mut sum: u64 = kept.iter().map(bytes).sum();
    kept.sort_by_key(|kept| store.used_at(&kept.key).unwrap_or(SystemTime::UNIX_EPOCH));
    for one in kept {
        if sum <= budget.bytes_max {
            break;
        }
        if needed.contains(&one.key) || bytes(&one) == 0 {
            continue;
        }
        let removed = if is_dry { Ok(bytes(&one)) } else { store.remove(&one.key, OVER_BUDGET) };
        match removed {
            Ok(freed) => {
                sum = sum.saturating_sub(freed);
                eviction.removed.push((one, freed, OVER_BUDGET));
            }
            Err(UseError::Store(error)) => return Err(error),
            Err(error) => eviction.spared.push((one, error.to_string())),
        }
    }
    let is_over = |path: &std::path::Path| {
        let modified = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= LEFTOVER_AGE))
            && !is_of_live_run(state, path)
    };
    let leftovers = store.leftovers(&is_over);
    eviction.leftovers = leftovers.len();
    if !is_dry {
        for path in leftovers {
            // What can't be removed now is found again.
            let _ = remove_tree(&path);
        }
    }
    Ok(eviction)
}

/// The outputs of the newest runs.
fn needed(state: &StateRoot, runs_min: usize) -> Result<BTreeSet<Digest>, StoreError> {
    let runs = list_runs(state)?.into_iter().take(runs_min);
    let records = runs.filter_map(|run| load_prepared_outputs_record(state, &run).ok().flatten());
    Ok(records.flat_map(|record| record.outputs).filter_map(|output| output.key).collect())
}

/// A build's folder is named after its run.
fn is_of_live_run(state: &StateRoot, path: &std::path::Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let run = name.strip_prefix(".new-").and_then(|rest| rest.get(..25));
    run.and_then(|run| pikaci::RunId::parse(run).ok())
        .is_some_and(|run| is_locked(state, &run).unwrap_or(true))
}
