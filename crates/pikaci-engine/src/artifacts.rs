//! Keeps what a job declared of its artifacts folder, and removes the rest.
//!
//! Invariant: the folder was written by the tested code. No link of it is followed, and limits bound what is kept.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pikaci::JobSpec;
use pikaci::guest::{LOG_NAME, RESULT_NAME};
use pikaci::manifest::PathFilter;

use crate::host_log::HostLog;

/// The most files that are kept of one job.
pub const FILES_MAX: u64 = 10_000;
/// The most bytes that are kept of one job, without its log.
pub const BYTES_MAX: u64 = 1024 * 1024 * 1024;
const DEPTH_MAX: usize = 32;
/// Far below what the system takes for a path (4096 bytes): the folder's own path comes before it.
const FOLDER_PATH_BYTES_MAX: usize = 1024;
/// What the owner of a folder needs to list and empty it.
const OWN: u32 = 0o700;

/// Removes what is not declared, is no regular file, or goes beyond the limits. What was removed is said in the log.
/// What cannot be removed does not keep the rest from it: the first such error is returned at the end.
pub fn keep_declared(folder: &Path, job: &JobSpec, log: &HostLog) -> io::Result<()> {
    // The manifest checked the patterns; one that is not understood keeps nothing.
    let patterns = PathFilter::new(job.artifacts.iter().chain(&job.junit)).ok();
    let mut keeper = Keeper { root: folder, patterns, log, files: 0, bytes: 0, removed: 0, failure: None };
    keeper.visit(folder, 0)?;
    if keeper.removed > 0 {
        log.line(format!("artifacts: kept {} files, removed {}", keeper.files, keeper.removed));
    }
    keeper.failure.map_or(Ok(()), Err)
}

struct Keeper<'a> {
    root: &'a Path,
    patterns: Option<PathFilter>,
    log: &'a HostLog,
    files: u64,
    bytes: u64,
    removed: u64,
    failure: Option<io::Error>,
}

impl Keeper<'_> {
    /// Returns whether anything in the folder is kept.
    fn visit(&mut self, folder: &Path, depth: usize) -> io::Result<bool> {
        let mut is_needed = false;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            match self.judge(&path, depth) {
                Ok(is_kept) => is_needed |= is_kept,
                Err(error) => {
                    self.log.line(format!("artifacts: cannot look after {path:?}: {error}"));
                    self.failure.get_or_insert(error);
                    is_needed = true;
                }
            }
        }
        Ok(is_needed)
    }

    /// Keeps or removes one entry, and says whether it is still there.
    fn judge(&mut self, path: &Path, depth: usize) -> io::Result<bool> {
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.is_dir() {
            return self.is_kept(path, &metadata);
        }
        let relative_bytes = path.strip_prefix(self.root).unwrap_or(path).as_os_str().len();
        if depth >= DEPTH_MAX || relative_bytes > FOLDER_PATH_BYTES_MAX {
            return self.remove(path, "too deep").map(|()| false);
        }
        if metadata.permissions().mode() & OWN != OWN {
            // The tested code may have closed it, also to us.
            fs::set_permissions(path, Permissions::from_mode(0o755))?;
        }
        let is_needed = self.visit(path, depth + 1)?;
        if !is_needed {
            fs::remove_dir(path)?;
        }
        Ok(is_needed)
    }

    fn is_kept(&mut self, path: &Path, metadata: &fs::Metadata) -> io::Result<bool> {
        let relative: PathBuf = path.strip_prefix(self.root).unwrap_or(path).to_owned();
        if metadata.is_file() && (relative == Path::new(LOG_NAME) || relative == Path::new(RESULT_NAME)) {
            return Ok(true);
        }
        let has_plain_name = relative.as_os_str().as_bytes().iter().all(|byte| !byte.is_ascii_control());
        let refusal = if !metadata.is_file() {
            Some("no regular file")
        } else if !has_plain_name {
            Some("a control character in its name")
        } else if !self.patterns.as_ref().is_some_and(|patterns| patterns.matches(&[&relative])) {
            Some("not declared")
        } else if self.files >= FILES_MAX {
            Some("too many files")
        } else if self.bytes.saturating_add(metadata.len()) > BYTES_MAX {
            Some("too many bytes")
        } else {
            None
        };
        match refusal {
            Some(reason) => self.remove(path, reason).map(|()| false),
            None => {
                self.files += 1;
                self.bytes += metadata.len();
                Ok(true)
            }
        }
    }

    fn remove(&mut self, path: &Path, reason: &str) -> io::Result<()> {
        self.removed += 1;
        // A job that litters must not fill the log as well.
        if self.removed <= 20 {
            let shown = path.strip_prefix(self.root).unwrap_or(path);
            self.log.line(format!("artifacts: removed {shown:?}: {reason}"));
        }
        crate::snapshot::remove_tree(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::sample_shell_job;

    #[test]
    fn only_declared_regular_files_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("artifacts");
        fs::create_dir_all(root.join("report/deep")).unwrap();
        fs::create_dir_all(root.join("other/empty")).unwrap();
        for name in
            ["guest.log", "result.json", "report/a.xml", "report/deep/b.txt", "other/c", "report/bad\nname"]
        {
            fs::write(root.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", root.join("report/link")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("report/folder")).unwrap();
        let log = HostLog::open(&folder.path().join("host.log")).unwrap();
        let mut job = sample_shell_job("unit", "true");
        job.artifacts = vec!["report/**".to_owned()];
        keep_declared(&root, &job, &log).unwrap();
        let mut left: Vec<String> = fs::read_dir(root.join("report"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, ["a.xml", "deep"]);
        assert!(
            root.join("guest.log").exists()
                && root.join("result.json").exists()
                && !root.join("other").exists()
        );
        let said = fs::read_to_string(folder.path().join("host.log")).unwrap();
        assert!(said.contains("report/link") && said.contains("kept 2 files, removed 4"), "{said}");
        assert!(Path::new("/etc/passwd").exists());
    }
    #[test]
    fn a_tree_deeper_than_a_path_may_be_long_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("artifacts");
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("guest.log"), "").unwrap();
        // As a command would do it: 60 folders of 200 bytes each, one inside the other.
        let mut inner = rustix::fs::open(&root, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        let name = "d".repeat(200);
        for _ in 0..60 {
            rustix::fs::mkdirat(&inner, &name, rustix::fs::Mode::RWXU).unwrap();
            inner = rustix::fs::openat(&inner, &name, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())
                .unwrap();
        }
        let log = HostLog::open(&folder.path().join("host.log")).unwrap();
        keep_declared(&root, &sample_shell_job("unit", "true"), &log).unwrap();
        let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["guest.log"]);
    }
}
