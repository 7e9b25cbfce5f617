//! What outlives the process of a build: its key, beside what it builds, and who it was, in the lock of that key.
//!
//! A lock is free as soon as its process is gone, but a guest builds on. Whoever takes the lock reads who had it, and leaves the
//! build to the run that can take it up.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use pikaci::store::{is_locked, load_stored_run_record};
use pikaci::{Digest, ExecutorKind, JobId, JobStatus, RunId, RunStatus, StateRoot};
use serde::{Deserialize, Serialize};

/// How long a run that was interrupted may take to be taken up, before its build is begun anew.
const TAKE_UP_PATIENCE: Duration = Duration::from_secs(10);
const NOTE_BYTES_MAX: u64 = 4096;
const KEY: &str = "key";

/// Who builds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Builder {
    pub(super) run: RunId,
    pub(super) job: JobId,
}

/// Writes who builds into the lock that it holds.
pub(super) fn note(lock: &File, builder: &Builder) -> io::Result<()> {
    let text = serde_json::to_vec(builder).map_err(io::Error::other)?;
    lock.set_len(0)?;
    (&mut &*lock).write_all(&text)
}

/// Says that nobody builds any more.
pub(super) fn clear(lock: &File) {
    // One that stays is looked at by the next builder, and found to be over.
    let _ = lock.set_len(0);
}

/// Who built when the lock was last given up, if that was no end.
pub(super) fn noted(lock: &File) -> Option<Builder> {
    let mut reader = lock;
    reader.seek(SeekFrom::Start(0)).ok()?;
    let mut text = Vec::new();
    reader.take(NOTE_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether the guest of a build may be at work without the process that began it, and will be taken up. `waited` is how long
/// that was hoped for.
pub(super) fn lives_on(state: &StateRoot, builder: &Builder, waited: Duration) -> bool {
    let Ok(record) = load_stored_run_record(state, &builder.run) else { return false };
    let is_at_work = record.status == RunStatus::Running
        && record.find_job(&builder.job).is_some_and(|job| {
            job.status == JobStatus::Running && job.executor == ExecutorKind::RemoteLinuxVm
        });
    is_at_work && (waited < TAKE_UP_PATIENCE || is_locked(state, &builder.run).unwrap_or(false))
}

/// Notes what is built in a folder, before anything is.
pub(super) fn note_key(new: &Path, key: &Digest) -> io::Result<()> {
    fs::write(new.join(KEY), key.as_str())
}

/// What is built in a folder. It is not asked for again when a build is taken up: an image's name may mean another image by
/// then, and the server may be away.
pub(super) fn noted_key(new: &Path) -> Option<Digest> {
    Digest::parse(&fs::read_to_string(new.join(KEY)).ok()?).ok()
}

/// What was noted is of no use in an output that is kept.
pub(super) fn forget_key(new: &Path) {
    let _ = fs::remove_file(new.join(KEY));
}
