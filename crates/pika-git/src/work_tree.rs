//! A person's checkout: its commits, its files, and the difference between them.
//!
//! Invariants: nothing of the checkout is changed, its index included; what leaves it leaves by [`WorkTree::push`]; files that git ignores, by the person's own
//! configuration too, are never read.

mod push;

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{Call, Git};
use crate::error::GitError;
use crate::history::{Commit, RENAME_FILES_MAX, list_commits};
use crate::oid::Oid;
use crate::patch::{FILE_BYTES_MAX, FILES_BYTES_MAX, read_committed};
use crate::reference::parse_oid;

pub use push::{Push, Pushed};

const DEADLINE: Duration = Duration::from_secs(120);
/// How large a patch may be.
const PATCH_BYTES_MAX: u64 = 512 << 20;

/// A checkout on this machine.
#[derive(Clone, Debug)]
pub struct WorkTree {
    git: Git,
    root: PathBuf,
    git_folder: PathBuf,
    configuration: Vec<(OsString, OsString)>,
}

/// What a patch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchEnd<'a> {
    /// A commit.
    Commit(&'a Oid),
    /// The files as they are: tracked ones, and those that git neither tracks nor ignores.
    Files,
}

impl WorkTree {
    /// Finds the checkout that a folder is in. `configuration` are the variables that lead git to the person's own
    /// configuration, such as `HOME`.
    ///
    /// [`GitError::NotARepository`] when it is in none.
    pub fn find(
        git: &Git,
        folder: &Path,
        configuration: Vec<(OsString, OsString)>,
    ) -> Result<WorkTree, GitError> {
        let missing = || GitError::NotAWorkTree { path: folder.to_owned() };
        let absolute = folder.canonicalize().map_err(|_| missing())?;
        let found = absolute.ancestors().find_map(|root| Some((root, find_git_folder(root)?)));
        let (root, git_folder) = found.ok_or_else(missing)?;
        Ok(WorkTree { git: git.clone(), root: root.to_owned(), git_folder, configuration })
    }

    /// Its top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where git keeps what belongs to this checkout.
    pub fn git_folder(&self) -> &Path {
        &self.git_folder
    }

    /// The commit that is checked out; `None` before the first one.
    pub async fn find_head(&self) -> Result<Option<Oid>, GitError> {
        self.find_commit("HEAD").await
    }

    /// Finds the commit that a revision names.
    pub async fn find_commit(&self, revision: &str) -> Result<Option<Oid>, GitError> {
        let what = "find a commit";
        let wanted = format!("{revision}^{{commit}}");
        let arguments = ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted];
        let finished = self.call(what).arguments(arguments).run().await?;
        if finished.code != 0 {
            return Ok(None);
        }
        parse_oid(what, String::from_utf8_lossy(&finished.stdout).trim_end()).map(Some)
    }

    /// Finds the best common ancestor; `None` when the two share no history.
    pub async fn find_merge_base(&self, one: &Oid, other: &Oid) -> Result<Option<Oid>, GitError> {
        let what = "find the merge base";
        let finished = self.call(what).arguments(["merge-base", one.as_str(), other.as_str()]).run().await?;
        match finished.code {
            0 => parse_oid(what, String::from_utf8_lossy(&finished.stdout).trim_end()).map(Some),
            1 => Ok(None),
            _ => Err(finished.into_error(what)),
        }
    }

    /// The branch that is checked out, if one is.
    pub async fn find_branch(&self) -> Result<Option<String>, GitError> {
        let call = self.call("find the branch").arguments(["symbolic-ref", "--quiet", "--short", "HEAD"]);
        let finished = call.run().await?;
        let name = String::from_utf8_lossy(&finished.stdout).trim_end().to_owned();
        Ok((finished.code == 0 && !name.is_empty()).then_some(name))
    }

    /// Lists at most `limit` commits that `head` has and `base` has not, the newest first; all of them without a base.
    pub async fn list_commits(
        &self,
        base: Option<&Oid>,
        head: &Oid,
        limit: usize,
    ) -> Result<Vec<Commit>, GitError> {
        list_commits(|what| self.call(what), base, head, limit).await
    }

    /// Whether a tracked file differs from the commit that is checked out, or a new one is there that git does not ignore.
    pub async fn has_uncommitted(&self) -> Result<bool, GitError> {
        let arguments = ["--no-optional-locks", "status", "--porcelain", "-z", "--untracked-files=normal"];
        let output = self.call("look for what is not committed").arguments(arguments).output().await?;
        Ok(!output.is_empty())
    }

    /// Writes the difference as git does. Without a base, everything is new.
    pub async fn read_patch(&self, base: Option<&Oid>, end: PatchEnd<'_>) -> Result<Vec<u8>, GitError> {
        let what = "compare";
        let base = match base {
            Some(base) => base.clone(),
            None => self.empty_tree().await?,
        };
        let call = |what| {
            let call = self.call(what).arguments(["diff", "--patch", "-M", RENAME_FILES_MAX]).arguments([
                "--no-ext-diff",
                "--no-textconv",
                "--no-color",
                "--full-index",
                "--submodule=short",
                "--ignore-submodules=none",
            ]);
            call.output_bytes_max(PATCH_BYTES_MAX)
        };
        match end {
            PatchEnd::Commit(head) => {
                call(what).arguments([base.as_str(), head.as_str(), "--"]).output().await
            }
            PatchEnd::Files => {
                // New files are announced in an index of our own, without storing them.
                let index = OwnIndex::copy(&self.git_folder)?;
                let add = self.call("list new files").variable("GIT_INDEX_FILE", &index.path);
                add.arguments(["add", "--intent-to-add", "--", "."]).output().await?;
                let diff = call(what).variable("GIT_INDEX_FILE", &index.path);
                diff.arguments([base.as_str(), "--"]).output().await
            }
        }
    }

    /// Reads files at a commit, or, without one, as they are. Those that are not there, are no files, or are large, are
    /// left out.
    pub async fn read_files(
        &self,
        commit: Option<&Oid>,
        paths: &[Vec<u8>],
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, GitError> {
        match commit {
            Some(commit) => read_committed(|what| self.call(what), commit, paths).await,
            None => Ok(self.read_present(paths)),
        }
    }

    fn read_present(&self, paths: &[Vec<u8>]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut left = FILES_BYTES_MAX;
        let mut files = Vec::new();
        for path in paths {
            let file = self.root.join(std::ffi::OsStr::from_bytes(path));
            // A link is not followed: what it leads to is not in the checkout.
            let size =
                fs::symlink_metadata(&file).ok().filter(fs::Metadata::is_file).map(|found| found.len());
            if size.is_none_or(|size| size > FILE_BYTES_MAX || size > left) {
                continue;
            }
            if let Ok(content) = fs::read(&file) {
                left = left.saturating_sub(content.len() as u64);
                files.push((path.clone(), content));
            }
        }
        files
    }

    async fn empty_tree(&self) -> Result<Oid, GitError> {
        let what = "name the empty tree";
        let output = self.call(what).arguments(["hash-object", "-t", "tree", "--stdin"]).output().await?;
        parse_oid(what, String::from_utf8_lossy(&output).trim_end())
    }

    fn call(&self, what: &'static str) -> Call {
        let call = Call::new(&self.git, &self.git_folder, what).deadline(DEADLINE);
        call.in_folder(&self.root)
            .with_configuration(&self.configuration)
            .variable("GIT_WORK_TREE", &self.root)
    }
}

/// The `.git` of a folder: a folder, or a file that names one, as linked checkouts and submodules have.
fn find_git_folder(root: &Path) -> Option<PathBuf> {
    let entry = root.join(".git");
    let folder = if entry.is_dir() {
        entry
    } else {
        let text = fs::read_to_string(&entry).ok()?;
        root.join(text.strip_prefix("gitdir: ")?.trim_end())
    };
    let is_one = folder.join("HEAD").is_file();
    if is_one { folder.canonicalize().ok() } else { None }
}

/// A copy of the index that is gone when it is dropped.
struct OwnIndex {
    path: PathBuf,
}

impl OwnIndex {
    fn copy(git_folder: &Path) -> Result<OwnIndex, GitError> {
        let path = git_folder.join(format!("pika-index.{}", std::process::id()));
        let index = OwnIndex { path };
        match fs::copy(git_folder.join("index"), &index.path) {
            Ok(_) => Ok(index),
            // Nothing was ever added.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(index),
            Err(source) => Err(GitError::Io { action: "copy the index".to_owned(), source }),
        }
    }
}

impl Drop for OwnIndex {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
