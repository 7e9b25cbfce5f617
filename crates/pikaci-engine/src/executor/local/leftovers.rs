//! Ends what a job left behind when its runner could not, on a host without a sandbox.
//!
//! The runner reaps all that its command started. Once the runner itself is killed, the command's processes belong to
//! nobody; they are known by the job's own folder in their environment.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Kills the processes of the job with these artifacts, and returns how many there were. Best effort: a process that
/// empties its environment is not found.
pub(super) async fn end(artifacts: &Path) -> usize {
    let mut marker = OsString::from("PIKACI_ARTIFACTS=");
    marker.push(artifacts);
    let start = Instant::now();
    let mut ended = 0;
    // Again until none is left: a process that forks while it is killed leaves a child.
    loop {
        let found = find(marker.as_bytes());
        ended = ended.max(found.len());
        if found.is_empty() || start.elapsed() > PATIENCE {
            return ended;
        }
        for process in found {
            let _ = kill_process(process, Signal::KILL);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The processes that have the marker in their environment. Others' environments cannot be read, and need not be.
fn find(marker: &[u8]) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let is_marked = |entry: &fs::DirEntry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == marker)
    };
    let number = |entry: &fs::DirEntry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
    entries.filter_map(|entry| number(&entry).filter(|_| is_marked(&entry))).collect()
}
