//! Records of runs as they are sent, kept for whoever asks next.
//!
//! Invariants: only the record of a run that is over is kept, and it is sent for as long as the stored one is the same; what
//! is kept is bounded in bytes. Who may see it is asked before, every time.

use axum::body::Bytes;
use pikaci::store::{RunRecordVersion, run_record_version};
use pikaci::{RunId, RunStatus};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::error::WebError;
use super::runs::Found;

/// All together.
const BYTES_MAX: u64 = 4 << 20;
/// A larger one would take the place of many others.
const RECORD_BYTES_MAX: usize = 256 << 10;
/// For the size of the table; a usual record has a few kilobytes.
const RECORDS_EXPECTED: usize = 1000;

/// What is kept.
pub(super) struct Records {
    kept: Cache<RunId, Kept, Bytewise>,
}

#[derive(Clone)]
struct Kept {
    version: RunRecordVersion,
    json: Bytes,
}

#[derive(Clone)]
struct Bytewise;

impl Weighter<RunId, Kept> for Bytewise {
    fn weight(&self, run: &RunId, kept: &Kept) -> u64 {
        (size_of::<Kept>() + run.as_str().len() + kept.json.len()) as u64
    }
}

impl Records {
    pub(super) fn new() -> Records {
        Records { kept: Cache::with_weighter(RECORDS_EXPECTED, BYTES_MAX, Bytewise) }
    }

    /// Finds a run's record when it was sent before and has not changed since.
    pub(super) fn find(&self, found: &Found) -> Option<Bytes> {
        let kept = self.kept.get(&found.run)?;
        (run_record_version(&found.state, &found.run)? == kept.version).then_some(kept.json)
    }

    /// Loads a run's record as JSON, and keeps it if it is final. Blocks.
    pub(super) fn load(&self, found: &Found) -> Result<Bytes, WebError> {
        // First the version: of a record that is replaced in between, the newer is sent once under the older's.
        let version = run_record_version(&found.state, &found.run);
        let stored = pikaci::store::load_stored_run_record(&found.state, &found.run)?;
        let is_over = stored.status != RunStatus::Running;
        // One that says "running" may be interrupted, and may be taken up again.
        let record = if is_over { stored } else { pikaci::load_run_record(&found.state, &found.run)? };
        let json = serde_json::to_vec(&record).map_err(|error| WebError::internal(&error))?;
        let json = Bytes::from(json);
        if let Some(version) = version.filter(|_| is_over && json.len() <= RECORD_BYTES_MAX) {
            self.kept.insert(found.run.clone(), Kept { version, json: json.clone() });
        }
        Ok(json)
    }
}
