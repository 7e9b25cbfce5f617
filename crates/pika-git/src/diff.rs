//! The difference between two commits, for people to read.
//!
//! Invariant: every file that differs is listed with its true counts, whatever the limits are. Limits cost lines, and
//! what they cost is flagged.

mod patch;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::error::GitError;
use crate::history::{ChangeStatus, RawChange, ended, read_path, read_raw};
use crate::oid::Oid;
use crate::process::{Answer, read_field, reading};
use crate::repository::Repository;

/// How long a comparison may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How many files may differ. A comparison beyond it is refused as a whole, not cut.
const FILES_MAX: usize = 200_000;
/// The longest header of an entry: modes, ids, counts.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// How many lines of a difference are read. The files and their counts are always complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffLimits {
    /// Lines of one file.
    pub file_lines_max: usize,
    /// Lines of all files together.
    pub lines_max: usize,
    /// Bytes of one line; what is beyond is dropped and flagged.
    pub line_bytes_max: usize,
    /// Bytes of the lines of all files together.
    pub bytes_max: usize,
}

impl Default for DiffLimits {
    fn default() -> DiffLimits {
        DiffLimits { file_lines_max: 2_000, lines_max: 20_000, line_bytes_max: 2_000, bytes_max: 4 << 20 }
    }
}

/// The difference between two commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Every file that differs, in git's order.
    pub files: Vec<FileDiff>,
    /// Whether any file lacks lines because of a limit.
    pub is_cut: bool,
}

/// The difference of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiff {
    /// Its path, with U+FFFD for what is not UTF-8.
    pub path: String,
    /// Where it came from, when it was renamed or copied.
    pub old_path: Option<String>,
    /// What happened to it.
    pub status: ChangeStatus,
    /// Git's mode before, such as `0o100644`; 0 when there was no file.
    pub old_mode: u32,
    /// Git's mode after; 0 when there is no file.
    pub new_mode: u32,
    /// Whether git takes it for binary. It has no counts and no hunks then.
    pub is_binary: bool,
    /// How many lines were added, in all.
    pub added: u64,
    /// How many lines were removed, in all.
    pub removed: u64,
    /// What was read of it.
    pub hunks: Vec<Hunk>,
    /// Whether lines or parts of lines are missing because of a limit.
    pub is_cut: bool,
}

/// Neighbouring changes of one file, with the lines around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// The whole header line, such as `@@ -1,3 +1,4 @@ fn main() {`.
    pub header: String,
    /// The first line before.
    pub old_start: u64,
    /// How many lines before.
    pub old_lines: u64,
    /// The first line after.
    pub new_start: u64,
    /// How many lines after.
    pub new_lines: u64,
    /// The lines, fewer than the numbers say when the file is cut.
    pub lines: Vec<DiffLine>,
}

/// One line of a hunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffLine {
    /// What became of it.
    pub kind: LineKind,
    /// Its number before; `None` when it was added.
    pub old_no: Option<u64>,
    /// Its number after; `None` when it was removed.
    pub new_no: Option<u64>,
    /// Its text without the line end, with U+FFFD for what is not UTF-8.
    pub text: String,
    /// Whether the file ends here without a line end.
    pub has_no_newline: bool,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// It is the same before and after.
    Context,
    /// It is new.
    Added,
    /// It is gone.
    Removed,
}

impl Repository {
    /// Compares two commits, or everything that `head` holds with nothing.
    ///
    /// [`GitError::TooLarge`] when more than 200,000 files differ.
    pub async fn diff(&self, base: Option<&Oid>, head: &Oid, limits: DiffLimits) -> Result<Diff, GitError> {
        let what = "compare two commits";
        let formats = ["-z", "--raw", "--numstat", "--patch"];
        let (running, mut answer) = self.diff_call(what, base, head, &formats).deadline(DEADLINE).start()?;
        let read = running.within(async {
            let mut files = read_files(what, &mut answer).await?;
            let is_complete = patch::read(&mut answer, &mut files, limits).await.map_err(reading(what))?;
            Ok((files, is_complete))
        });
        let (files, is_complete) = read.await?;
        if is_complete {
            // Lines that nobody will see are not waited for: otherwise git ends with `running`.
            let (code, stderr) = running.finish().await?;
            if code != 0 {
                let error = GitError::Failed { what, status: format!("exit status {code}"), stderr };
                return Err(self.explain(error, &base.into_iter().chain([head]).collect::<Vec<_>>()).await);
            }
        }
        let is_cut = files.iter().any(|file| file.is_cut);
        Ok(Diff { files, is_cut })
    }
}

/// Reads the lists that come before the patch: an entry of the raw format for each file, then its counts, then an
/// empty field.
async fn read_files(what: &'static str, answer: Answer<'_>) -> Result<Vec<FileDiff>, GitError> {
    let mut files: Vec<FileDiff> = Vec::new();
    let mut counted = 0;
    while let Some(header) = read_header(what, answer).await? {
        if header.is_empty() {
            break;
        }
        if header.starts_with(':') {
            if files.len() == FILES_MAX {
                return Err(GitError::TooLarge {
                    what: format!("a comparison of {FILES_MAX} files"),
                    bytes_max: 0,
                });
            }
            files.push(file_without_lines(read_raw(what, &header, answer).await?));
        } else {
            let file = files.get_mut(counted).ok_or_else(|| ended(what))?;
            read_counts(what, &header, file, answer).await?;
            counted += 1;
        }
    }
    Ok(files)
}

async fn read_header(what: &'static str, answer: Answer<'_>) -> Result<Option<String>, GitError> {
    let field = read_field(answer, 0, HEADER_BYTES_MAX).await.map_err(reading(what))?;
    Ok(field.map(|field| String::from_utf8_lossy(&field.bytes).into_owned()))
}

fn file_without_lines(raw: RawChange) -> FileDiff {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    FileDiff {
        path: text(raw.changed.path),
        old_path: raw.changed.old_path.map(text),
        status: raw.changed.status,
        old_mode: raw.old_mode,
        new_mode: raw.new_mode,
        is_binary: false,
        added: 0,
        removed: 0,
        hunks: Vec::new(),
        is_cut: false,
    }
}

/// Reads `added TAB removed TAB path`; two dashes mean binary, and an empty path that two more fields hold old and new.
async fn read_counts(
    what: &'static str,
    header: &str,
    file: &mut FileDiff,
    answer: Answer<'_>,
) -> Result<(), GitError> {
    let malformed = || GitError::Answer { what, problem: format!("{header:?} is no entry of numstat") };
    let [added, removed, path] = header.splitn(3, '\t').collect::<Vec<_>>()[..] else {
        return Err(malformed());
    };
    if path.is_empty() {
        read_path(what, answer).await?;
        read_path(what, answer).await?;
    }
    if (added, removed) == ("-", "-") {
        file.is_binary = true;
    } else {
        file.added = added.parse().map_err(|_| malformed())?;
        file.removed = removed.parse().map_err(|_| malformed())?;
    }
    Ok(())
}
