//! Takes in the files that a job declared, from an instance whose every word may be a lie.
//!
//! Invariants: no link is followed, no name leads out of the folder, and limits bound what is asked for and what is kept.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use incus_client::{Client, Error, FileKind};
use pikaci::JobSpec;
use pikaci::guest::{ARTIFACTS_PATH, LOG_NAME, RESULT_NAME};
use pikaci::manifest::PathFilter;

use super::{Attempt, described};
use crate::artifacts::{BYTES_MAX, FILES_MAX};

const DEPTH_MAX: usize = 32;
/// How many names are looked at, kept or not.
const LOOKS_MAX: u64 = 100_000;
const PATH_BYTES_MAX: usize = 1024;

/// Whether a job wants anything kept beside its log and its result.
pub(crate) fn has_declared(job: &JobSpec) -> bool {
    !job.artifacts.is_empty() || !job.junit.is_empty()
}

/// Brings what the job declared into its folder on the host. What was left out, and why, is said in the host log; an error
/// means that something declared may be missing.
pub(crate) async fn collect(client: &Client, instance: &str, attempt: &Attempt) -> Result<(), String> {
    // The manifest checked the patterns; one that is not understood keeps nothing.
    let patterns = attempt.job.artifacts.iter().chain(&attempt.job.junit);
    let Ok(patterns) = PathFilter::new(patterns) else { return Ok(()) };
    let mut collector =
        Collector { client, instance, attempt, patterns, files: 0, bytes: 0, looks: 0, refused: 0 };
    collector.walk().await?;
    let Collector { files, refused, .. } = collector;
    attempt.host_log.line(format!("artifacts: kept {files} files, left out {refused}"));
    Ok(())
}

struct Collector<'a> {
    client: &'a Client,
    instance: &'a str,
    attempt: &'a Attempt,
    patterns: PathFilter,
    files: u64,
    bytes: u64,
    looks: u64,
    refused: u64,
}

impl Collector<'_> {
    async fn walk(&mut self) -> Result<(), String> {
        let mut folders = vec![(PathBuf::new(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let names = match self.names(&folder).await {
                Ok(names) => names,
                // The job removed its own folder, or it vanished while it was looked at.
                Err(Error::NotFound { .. }) => continue,
                Err(error) => return Err(described(&error)),
            };
            for name in names {
                self.looks += 1;
                if self.looks > LOOKS_MAX {
                    return Err(format!("there are more than {LOOKS_MAX} names"));
                }
                let path = folder.join(&name);
                if !is_plain(&name) || path.as_os_str().len() > PATH_BYTES_MAX {
                    self.refuse(&path, "not a plain name");
                    continue;
                }
                if folder.as_os_str().is_empty() && (name == LOG_NAME || name == RESULT_NAME) {
                    continue;
                }
                if self.take(&path).await? {
                    if depth + 1 < DEPTH_MAX {
                        folders.push((path, depth + 1));
                    } else {
                        self.refuse(&path, "too deep");
                    }
                }
            }
        }
        Ok(())
    }

    async fn names(&self, folder: &Path) -> Result<Vec<String>, Error> {
        let file = self.client.file(self.instance, &inside(folder)).await?;
        // What was a folder a moment ago may be a link now.
        if file.kind == FileKind::Folder { file.names().await } else { Ok(Vec::new()) }
    }

    /// Keeps one file, if it is declared. Returns whether it is a folder.
    async fn take(&mut self, path: &Path) -> Result<bool, String> {
        let info = match self.client.file_info(self.instance, &inside(path)).await {
            Ok(info) => info,
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(Error::Refused { .. } | Error::Shape { .. }) => {
                self.refuse(path, "no regular file");
                return Ok(false);
            }
            Err(error) => return Err(described(&error)),
        };
        match info.kind {
            FileKind::Folder => return Ok(true),
            FileKind::Link => {
                self.refuse(path, "no regular file");
                return Ok(false);
            }
            FileKind::File => {}
        }
        if !self.patterns.matches(&[path]) {
            return Ok(false);
        }
        if self.files >= FILES_MAX {
            self.refuse(path, "too many files");
            return Ok(false);
        }
        if self.bytes.saturating_add(info.bytes) > BYTES_MAX {
            self.refuse(path, "too many bytes");
            return Err(format!("there are more than {BYTES_MAX} bytes"));
        }
        let target = self.attempt.artifacts_dir.join(path);
        let cannot = |error: std::io::Error| format!("cannot write {}: {error}", target.display());
        // The host's folder was made by this program alone, so nothing in it leads elsewhere.
        fs::create_dir_all(target.parent().unwrap_or(&target)).map_err(cannot)?;
        let mut kept = File::create(&target).map_err(cannot)?;
        self.files += 1;
        if info.bytes == 0 {
            // Or a pipe, which must not be opened.
            return Ok(false);
        }
        let mut file = match self.client.file(self.instance, &inside(path)).await {
            Ok(file) if file.kind == FileKind::File => file,
            Ok(_) | Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(described(&error)),
        };
        while let Some(bytes) = file.body.read().await.map_err(|error| described(&error))? {
            self.bytes = self.bytes.saturating_add(bytes.len() as u64);
            if self.bytes > BYTES_MAX {
                fs::remove_file(&target).map_err(cannot)?;
                self.refuse(path, "too many bytes");
                return Err(format!("there are more than {BYTES_MAX} bytes"));
            }
            kept.write_all(&bytes).map_err(cannot)?;
        }
        Ok(false)
    }

    fn refuse(&mut self, path: &Path, reason: &str) {
        self.refused += 1;
        // A job that litters must not fill the log as well.
        if self.refused <= 20 {
            self.attempt.host_log.line(format!("artifacts: left out {path:?}: {reason}"));
        }
    }
}

fn inside(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        return ARTIFACTS_PATH.to_owned();
    }
    format!("{ARTIFACTS_PATH}/{}", path.display())
}

/// Whether a name is one: no way up, no separator, nothing that a terminal would act on.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains('/') && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_anywhere_is_refused() {
        for name in ["", ".", "..", "a/b", "../x", "a\nb", "\u{1b}[2J"] {
            assert!(!is_plain(name), "{name:?}");
        }
        for name in ["a", "..a", "ä ö", "report.xml"] {
            assert!(is_plain(name), "{name:?}");
        }
    }
}
