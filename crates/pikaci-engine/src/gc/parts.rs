//! What of a run can be removed while its record stays: long logs, and what its jobs have left.
//!
//! Invariant: nothing outside the run's folder is touched, whatever a job has put in the place of its own folders.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use pikaci::{RunId, StateRoot, guest};

use crate::snapshot;

/// What takes no more of the disk than this stays: to remove it would free nearly nothing.
const LOG_BYTES_MIN: u64 = 16 * 1024;
const REMOVED: &str = "[pikaci] this log was removed, to keep the logs within their budget\n";
const HOST_LOG: &str = "host.log";
const ARTIFACTS: &str = "artifacts";

/// The long logs of all attempts at all jobs of a run.
pub(super) fn logs(state: &StateRoot, run: &RunId) -> Vec<PathBuf> {
    let of_attempt = |folder: PathBuf| [folder.join(HOST_LOG), folder.join(ARTIFACTS).join(guest::LOG_NAME)];
    let is_long = |path: &PathBuf| {
        let folder = path.parent().unwrap_or(path);
        is_folder(folder)
            && fs::symlink_metadata(path)
                .is_ok_and(|found| found.is_file() && found.blocks() * 512 > LOG_BYTES_MIN)
    };
    attempts(state, run).into_iter().flat_map(of_attempt).filter(is_long).collect()
}

/// What all attempts at all jobs of a run have left, but for logs and results.
pub(super) fn artifacts(state: &StateRoot, run: &RunId) -> Vec<PathBuf> {
    let folders = attempts(state, run).into_iter().map(|folder| folder.join(ARTIFACTS));
    let entries = folders.filter(|folder| is_folder(folder)).flat_map(entries);
    let is_kept = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name == guest::LOG_NAME || name == guest::RESULT_NAME)
    };
    entries.filter(|path| !is_kept(path)).collect()
}

pub(super) fn remove_artifacts(state: &StateRoot, run: &RunId) -> io::Result<()> {
    artifacts(state, run).iter().try_for_each(|path| snapshot::remove_tree(path))
}

/// Puts a line that says so in the place of each log. Whoever reads one reads it to its end.
pub(super) fn remove_logs(state: &StateRoot, run: &RunId) -> io::Result<()> {
    for log in logs(state, run) {
        let new = log.with_extension("log.going");
        fs::write(&new, REMOVED)?;
        fs::rename(&new, &log)?;
    }
    Ok(())
}

/// The folders of all attempts at all jobs: the latest is the job's own.
fn attempts(state: &StateRoot, run: &RunId) -> Vec<PathBuf> {
    let jobs: Vec<PathBuf> =
        entries(state.run_dir(run).join("jobs")).into_iter().filter(|job| is_folder(job)).collect();
    let earlier = jobs.iter().map(|job| job.join("attempts")).filter(|folder| is_folder(folder));
    let earlier: Vec<PathBuf> = earlier.flat_map(entries).filter(|attempt| is_folder(attempt)).collect();
    [jobs, earlier].concat()
}

fn entries(folder: PathBuf) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()).collect()
}

/// A link is none.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}
