//! The lock of a run: a `flock` that the kernel frees with the process that holds it.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::layout::LOCK;
use super::{StateRoot, StoreError, confined};
use crate::id::RunId;

/// Readers hold the lock, shared, for the microseconds of a look; a writer that meets one tries again for this long.
const READERS_PATIENCE: Duration = Duration::from_millis(500);

/// Who writes a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// The process.
    pub pid: u32,
    /// When it took the lock.
    pub since: Timestamp,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {} since {}", self.pid, self.since)
    }
}

/// Takes the lock in this folder and says in it who holds it. Freed when the file is dropped, or the process ends.
pub(super) fn take(folder: &Path, run: &RunId, now: Timestamp) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(StoreError::io("open", &path))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if start.elapsed() < READERS_PATIENCE => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(TryLockError::WouldBlock) => {
                let holder = read_holder(&mut file).unwrap_or(LockHolder { pid: 0, since: now });
                return Err(StoreError::Locked { run: run.clone(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(StoreError::Io { action: "lock", path, source }),
        }
    }
    let holder = LockHolder { pid: std::process::id(), since: now };
    let text = serde_json::to_vec(&holder).unwrap_or_default();
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&text));
    written.map_err(StoreError::io("write", &path))?;
    Ok(file)
}

/// Whether a process writes this run now.
pub fn is_locked(state: &StateRoot, run: &RunId) -> Result<bool, StoreError> {
    Ok(held(state, run)?.is_some())
}

/// Finds who writes this run now; `None` when nobody does.
pub fn find_lock_holder(state: &StateRoot, run: &RunId) -> Result<Option<LockHolder>, StoreError> {
    Ok(held(state, run)?.and_then(|mut file| read_holder(&mut file)))
}

fn held(state: &StateRoot, run: &RunId) -> Result<Option<File>, StoreError> {
    let folder = state.run_dir(run);
    let opened =
        confined::open(&folder, Path::new(LOCK)).map_err(StoreError::io("open", folder.join(LOCK)))?;
    let Some(file) = opened else { return Ok(None) };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(file)),
        Err(TryLockError::Error(source)) => {
            Err(StoreError::Io { action: "look at the lock of", path: folder, source })
        }
    }
}

fn read_holder(file: &mut File) -> Option<LockHolder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
