//! Reads what lies between two commits, and files at a commit.

use std::time::Duration;

use crate::command::Call;
use crate::error::GitError;
use crate::oid::Oid;
use crate::process::{Answer, read_field, reading};
use crate::reference::parse_oid;
use crate::repository::Repository;

/// How long a walk over commits or trees may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How much of one field of a commit is kept.
const FIELD_BYTES_MAX: usize = 64 << 10;
/// How long a path may be; longer ones can't be checked out anywhere.
const PATH_BYTES_MAX: usize = 16 << 10;
/// Between how many files renames are looked for; beyond it, only files that moved unchanged count as renamed.
pub(crate) const RENAME_FILES_MAX: &str = "-l1000";

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub oid: Oid,
    /// Who wrote it.
    pub author_name: String,
    /// Their address.
    pub author_email: String,
    /// When it was committed, in seconds since 1970.
    pub at: i64,
    /// The first paragraph of its message, in one line.
    pub subject: String,
    /// The rest of its message.
    pub body: String,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeStatus {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// Its content or its mode changed.
    Modified,
    /// It came from another path, which is gone.
    Renamed,
    /// It came from another path, which is still there.
    Copied,
    /// It became something else: a link, a file, a submodule.
    TypeChanged,
}

impl ChangeStatus {
    /// Reads the letter that git writes, which may be followed by a score.
    fn parse(text: &str) -> Option<ChangeStatus> {
        match text.as_bytes().first()? {
            b'A' => Some(ChangeStatus::Added),
            b'D' => Some(ChangeStatus::Deleted),
            b'M' => Some(ChangeStatus::Modified),
            b'R' => Some(ChangeStatus::Renamed),
            b'C' => Some(ChangeStatus::Copied),
            b'T' => Some(ChangeStatus::TypeChanged),
            _ => None,
        }
    }

    /// Whether git writes two paths for it.
    pub(crate) fn has_old_path(self) -> bool {
        matches!(self, ChangeStatus::Renamed | ChangeStatus::Copied)
    }
}

/// One path that differs between two commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedPath {
    /// What happened to it.
    pub status: ChangeStatus,
    /// Its bytes: git does not promise UTF-8.
    pub path: Vec<u8>,
    /// Where it came from, when it was renamed or copied.
    pub old_path: Option<Vec<u8>>,
}

/// One entry of git's raw format.
pub(crate) struct RawChange {
    pub(crate) old_mode: u32,
    pub(crate) new_mode: u32,
    pub(crate) changed: ChangedPath,
}

impl Repository {
    /// Finds the best common ancestor; `None` when the two share no history.
    ///
    /// [`GitError::NotFound`] when the repository lacks one of them.
    pub async fn merge_base(&self, one: &Oid, other: &Oid) -> Result<Option<Oid>, GitError> {
        let what = "find the merge base";
        let call = self.call(what).arguments(["merge-base", one.as_str(), other.as_str()]).deadline(DEADLINE);
        let finished = call.run().await?;
        match finished.code {
            0 => parse_oid(what, String::from_utf8_lossy(&finished.stdout).trim_end()).map(Some),
            1 => Ok(None),
            _ => Err(self.explain(finished.into_error(what), &[one, other]).await),
        }
    }

    /// Reads a file at a commit; `None` when there is none at that path, or it is a folder, a link or a submodule.
    ///
    /// [`GitError::TooLarge`] when the file has more than `bytes_max` bytes; it is not read then.
    pub async fn read_file(
        &self,
        commit: &Oid,
        path: &str,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, GitError> {
        let what = "read a file";
        if path.is_empty() || path.contains('\0') || path.starts_with('/') || path.ends_with('/') {
            return Ok(None);
        }
        let list =
            self.call(what).arguments(["ls-tree", "-z", "-l", "--full-tree", commit.as_str(), "--", path]);
        let listed = match list.deadline(DEADLINE).output().await {
            Ok(listed) => listed,
            Err(error) => return Err(self.explain(error, &[commit]).await),
        };
        let Some((blob, bytes)) = find_blob(what, &listed, path)? else { return Ok(None) };
        if bytes > bytes_max {
            return Err(GitError::TooLarge { what: path.to_owned(), bytes_max });
        }
        let read = self.call(what).arguments(["cat-file", "blob", blob.as_str()]).output_bytes_max(bytes_max);
        read.deadline(DEADLINE).output().await.map(Some)
    }

    /// Lists at most `limit` commits that `head` has and `base` has not, the newest first; all of them without a base.
    pub async fn list_commits(
        &self,
        base: Option<&Oid>,
        head: &Oid,
        limit: usize,
    ) -> Result<Vec<Commit>, GitError> {
        match list_commits(|what| self.call(what), base, head, limit).await {
            Err(error @ GitError::Failed { .. }) => {
                Err(self.explain(error, &base.into_iter().chain([head]).collect::<Vec<_>>()).await)
            }
            listed => listed,
        }
    }

    /// Lists the paths that differ between two commits, renames detected; without a base, everything is new.
    pub async fn changed_paths(&self, base: Option<&Oid>, head: &Oid) -> Result<Vec<ChangedPath>, GitError> {
        let what = "list the changed paths";
        let call = self.diff_call(what, base, head, &["-z", "--raw"]).deadline(DEADLINE);
        let answer = match call.output().await {
            Ok(answer) => answer,
            Err(error) => {
                return Err(self.explain(error, &base.into_iter().chain([head]).collect::<Vec<_>>()).await);
            }
        };
        let mut reader = &answer[..];
        let mut changed = Vec::new();
        while let Some(header) = read_text(what, &mut reader).await? {
            changed.push(read_raw(what, &header, &mut reader).await?.changed);
        }
        Ok(changed)
    }

    /// Begins a comparison of two trees in the formats that are asked for, untouched by configuration.
    pub(crate) fn diff_call(
        &self,
        what: &'static str,
        base: Option<&Oid>,
        head: &Oid,
        formats: &[&str],
    ) -> Call {
        let base = base.cloned().unwrap_or_else(|| head.empty_tree());
        let call = self.call(what).arguments(["diff-tree", "-r", "-M", RENAME_FILES_MAX]);
        let call = call.arguments([
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            "--full-index",
            "--submodule=short",
            // A branch must not hide a change by what its own .gitmodules says.
            "--ignore-submodules=none",
        ]);
        call.arguments(formats).arguments([base.as_str(), head.as_str(), "--"])
    }
}

/// Lists at most `limit` commits that `head` has and `base` has not, the newest first.
pub(crate) async fn list_commits(
    call: impl Fn(&'static str) -> Call,
    base: Option<&Oid>,
    head: &Oid,
    limit: usize,
) -> Result<Vec<Commit>, GitError> {
    let what = "list the commits";
    let format = "--format=tformat:%H%x00%an%x00%ae%x00%ct%x00%s%x00%b";
    let mut call = call(what).arguments(["log", "-z", "--no-show-signature", "--encoding=UTF-8", format]);
    call = call.argument(format!("--max-count={limit}")).argument(head.as_str());
    if let Some(base) = base {
        call = call.argument(format!("^{base}"));
    }
    let (running, mut answer) = call.argument("--").deadline(DEADLINE).start()?;
    let commits = running.within(async {
        let mut commits = Vec::new();
        while let Some(commit) = read_commit(what, &mut answer).await? {
            commits.push(commit);
        }
        Ok(commits)
    });
    let commits = commits.await?;
    match running.finish().await? {
        (0, _) => Ok(commits),
        (code, stderr) => Err(GitError::Failed { what, status: format!("exit status {code}"), stderr }),
    }
}

/// Finds a regular file in the answer of `ls-tree -z -l`: mode, type, id and size, then a tab and the path.
fn find_blob(what: &'static str, listed: &[u8], path: &str) -> Result<Option<(Oid, u64)>, GitError> {
    for entry in listed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let malformed = || GitError::Answer { what, problem: String::from_utf8_lossy(entry).into_owned() };
        let tab = entry.iter().position(|byte| *byte == b'\t').ok_or_else(malformed)?;
        if &entry[tab + 1..] != path.as_bytes() {
            continue;
        }
        let facts = str::from_utf8(&entry[..tab]).map_err(|_| malformed())?;
        let [mode, _, oid, bytes] = facts.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        let is_regular_file = mode.starts_with("100");
        if !is_regular_file {
            return Ok(None);
        }
        return Ok(Some((parse_oid(what, oid)?, bytes.parse().map_err(|_| malformed())?)));
    }
    Ok(None)
}

async fn read_commit(what: &'static str, answer: Answer<'_>) -> Result<Option<Commit>, GitError> {
    let Some(oid) = read_text(what, answer).await? else { return Ok(None) };
    let oid = parse_oid(what, &oid)?;
    let mut fields = Vec::with_capacity(5);
    for _ in 0..5 {
        let field = read_text(what, answer).await?;
        fields.push(field.ok_or_else(|| ended(what))?);
    }
    let [author_name, author_email, at, subject, body] =
        <[String; 5]>::try_from(fields).map_err(|_| ended(what))?;
    let body = body.trim_end().to_owned();
    // A commit may carry any number as its time; what is no time is the beginning of time.
    Ok(Some(Commit { oid, author_name, author_email, at: at.parse().unwrap_or(0), subject, body }))
}

/// Reads the next field up to a NUL as text, cut to a bounded length.
async fn read_text(what: &'static str, answer: Answer<'_>) -> Result<Option<String>, GitError> {
    let field = read_field(answer, 0, FIELD_BYTES_MAX).await.map_err(reading(what))?;
    Ok(field.map(|field| String::from_utf8_lossy(&field.bytes).into_owned()))
}

pub(crate) async fn read_path(what: &'static str, answer: Answer<'_>) -> Result<Vec<u8>, GitError> {
    let field = read_field(answer, 0, PATH_BYTES_MAX).await.map_err(reading(what))?;
    match field {
        Some(field) if field.is_ended && !field.is_cut => Ok(field.bytes),
        Some(_) => Err(GitError::Answer { what, problem: format!("a path above {PATH_BYTES_MAX} bytes") }),
        None => Err(ended(what)),
    }
}

/// Reads one entry of the raw format, whose first field is `:oldmode newmode oldoid newoid status`.
pub(crate) async fn read_raw(
    what: &'static str,
    header: &str,
    answer: Answer<'_>,
) -> Result<RawChange, GitError> {
    let malformed =
        || GitError::Answer { what, problem: format!("{header:?} is no entry of the raw format") };
    let fields: Vec<&str> = header.strip_prefix(':').ok_or_else(malformed)?.split(' ').collect();
    let [old_mode, new_mode, _, _, status] = fields[..] else { return Err(malformed()) };
    let mode = |text| u32::from_str_radix(text, 8).map_err(|_| malformed());
    let status = ChangeStatus::parse(status).ok_or_else(malformed)?;
    let first = read_path(what, answer).await?;
    let (path, old_path) =
        if status.has_old_path() { (read_path(what, answer).await?, Some(first)) } else { (first, None) };
    let changed = ChangedPath { status, path, old_path };
    Ok(RawChange { old_mode: mode(old_mode)?, new_mode: mode(new_mode)?, changed })
}

pub(crate) fn ended(what: &'static str) -> GitError {
    GitError::Answer { what, problem: "it ended in the middle of an entry".to_owned() }
}

#[cfg(test)]
mod tests;
