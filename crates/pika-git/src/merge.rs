//! Merges a branch into its target, without a working tree.
//!
//! Two steps, so that the caller can write down what it is about to do in between: [`Repository::prepare_merge`] makes the
//! commit, to which nothing points yet, and [`Repository::update_refs`] makes it the head of the target.
//!
//! Invariant: preparing changes no reference, and preparing the same request twice makes the same commit.

use std::time::Duration;

use crate::branch::BranchName;
use crate::error::GitError;
use crate::oid::Oid;
use crate::reference::{RefChange, RefTransaction, parse_oid};
use crate::repository::Repository;

/// How long a merge may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// `git merge-tree --write-tree` came with this version.
const VERSION_NEEDED: (u32, u32) = (2, 38);
const VERSION_NEEDED_TEXT: &str = "2.38";
/// How many conflicting paths are named.
const CONFLICTS_MAX: usize = 1000;

/// Who did something, as git writes it into a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    email: String,
}

impl Signature {
    /// Takes what git can store of the two: no control characters, no angle brackets, and a name that is not empty.
    pub fn new(name: &str, email: &str) -> Signature {
        let clean = |text: &str| {
            let is_kept = |character: &char| !character.is_control() && !matches!(character, '<' | '>');
            text.chars()
                .filter(is_kept)
                .collect::<String>()
                .trim_matches(|c: char| " .,:;\"\\'".contains(c))
                .to_owned()
        };
        let name = clean(name);
        let name = if name.is_empty() { "unknown".to_owned() } else { name };
        Signature { name, email: clean(email) }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address; may be empty.
    pub fn email(&self) -> &str {
        &self.email
    }
}

/// What to merge, and how the commit is to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRequest {
    /// The branch that is merged into.
    pub target: BranchName,
    /// Where it must be.
    pub expected_target: Oid,
    /// What is merged.
    pub head: Oid,
    /// The message of the merge commit.
    pub message: String,
    /// Who merges.
    pub author: Signature,
    /// Who makes the commit: the forge.
    pub committer: Signature,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// Why two commits could not be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// People have to decide; nothing was changed.
    #[error("{} file(s) conflict, the first is {}; merge the target into the branch and resolve them", paths.len(), paths.first().map_or("", String::as_str))]
    Conflict {
        /// The paths, with U+FFFD for what is not UTF-8; at most a thousand.
        paths: Vec<String>,
    },
    /// The target has it already; there is nothing to do.
    #[error("{head} is already part of the target")]
    AlreadyMerged {
        /// What was to be merged.
        head: Oid,
    },
    /// The two were never one. Merging them is refused, as git does.
    #[error("the branch shares no history with its target; rebase it onto the target")]
    Unrelated,
    /// The target is not where the caller thought it was; look again and retry.
    #[error("the target {target} has moved; look at it again and retry")]
    TargetMoved {
        /// The target.
        target: BranchName,
        /// Where it is; `None` when it is gone.
        found: Option<Oid>,
    },
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl Repository {
    /// Makes the merge commit, to which nothing points yet. Its parents are the target's head and the merged head.
    pub async fn prepare_merge(&self, request: &MergeRequest) -> Result<Oid, MergeError> {
        let found = self.find_branch(&request.target).await?;
        if found.as_ref() != Some(&request.expected_target) {
            return Err(MergeError::TargetMoved { target: request.target.clone(), found });
        }
        match self.merge_base(&request.expected_target, &request.head).await? {
            None => return Err(MergeError::Unrelated),
            Some(base) if base == request.head => {
                return Err(MergeError::AlreadyMerged { head: request.head.clone() });
            }
            Some(_) => {}
        }
        let tree = self.merge_trees(&request.expected_target, &request.head).await?;
        Ok(self.commit_merge(request, &tree).await?)
    }

    /// Prepares a merge and moves the target, in one call: for callers that need to write nothing down in between.
    pub async fn merge(&self, request: &MergeRequest) -> Result<Oid, MergeError> {
        let merged = self.prepare_merge(request).await?;
        let change = RefChange::Update {
            branch: request.target.clone(),
            new: merged.clone(),
            old: request.expected_target.clone(),
        };
        let reason = request.message.lines().next().unwrap_or_default().to_owned();
        match self.update_refs(&RefTransaction { changes: vec![change], reason }).await {
            Ok(()) => Ok(merged),
            Err(GitError::RefMoved { found, .. }) => {
                Err(MergeError::TargetMoved { target: request.target.clone(), found })
            }
            Err(error) => Err(MergeError::Git(error)),
        }
    }

    /// Lists the paths that a merge of a head into a target would have to resolve; none when it would be clean.
    pub async fn list_conflicts(&self, target: &Oid, head: &Oid) -> Result<Vec<String>, GitError> {
        match self.merge_trees(target, head).await {
            Ok(_) => Ok(Vec::new()),
            Err(MergeError::Conflict { paths }) => Ok(paths),
            Err(MergeError::Git(error)) => Err(error),
            // What is asked of refs and histories is not asked here.
            Err(
                MergeError::TargetMoved { .. } | MergeError::Unrelated | MergeError::AlreadyMerged { .. },
            ) => Ok(Vec::new()),
        }
    }

    async fn merge_trees(&self, target: &Oid, head: &Oid) -> Result<Oid, MergeError> {
        let what = "merge two commits";
        let call =
            self.call(what).arguments(["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages"]);
        let finished = call.arguments([target.as_str(), head.as_str()]).deadline(DEADLINE).run().await?;
        let mut fields = finished.stdout.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        match finished.code {
            0 => Ok(parse_oid(what, &String::from_utf8_lossy(fields.next().unwrap_or_default()))?),
            // "Exit status 1: the merge has conflicts; anything else: it could not be completed" (git-merge-tree).
            // A git that has no such option also exits with 1, or with 129 for its usage: no tree is printed then.
            1 if fields.next().is_some() => {
                let paths = fields.take(CONFLICTS_MAX).map(|path| String::from_utf8_lossy(path).into_owned());
                Err(MergeError::Conflict { paths: paths.collect() })
            }
            _ => {
                self.check_version().await?;
                Err(MergeError::Git(finished.into_error(what)))
            }
        }
    }

    async fn commit_merge(&self, request: &MergeRequest, tree: &Oid) -> Result<Oid, GitError> {
        let what = "make the merge commit";
        let date = format!("@{} +0000", request.at);
        let call = self
            .call(what)
            .variable("GIT_AUTHOR_NAME", &request.author.name)
            .variable("GIT_AUTHOR_EMAIL", &request.author.email)
            .variable("GIT_AUTHOR_DATE", &date)
            .variable("GIT_COMMITTER_NAME", &request.committer.name)
            .variable("GIT_COMMITTER_EMAIL", &request.committer.email)
            .variable("GIT_COMMITTER_DATE", &date)
            .arguments(["commit-tree", tree.as_str(), "-p", request.expected_target.as_str()])
            .arguments(["-p", request.head.as_str(), "-F", "-"])
            // Git refuses a message with a NUL.
            .input(request.message.replace('\0', "").into_bytes());
        let answer = call.output().await?;
        parse_oid(what, String::from_utf8_lossy(&answer).trim_end())
    }

    /// Checks that the installed git can merge without a working tree.
    pub async fn check_version(&self) -> Result<(), GitError> {
        let what = "tell its version";
        let answer = self.call(what).arguments(["version"]).output().await?;
        let text = String::from_utf8_lossy(&answer);
        let found = text.trim().trim_start_matches("git version ").to_owned();
        match parse_version(&found) {
            Some(version) if version >= VERSION_NEEDED => Ok(()),
            Some(_) => Err(GitError::TooOld { found, needed: VERSION_NEEDED_TEXT }),
            None => Err(GitError::Answer { what, problem: format!("{found:?} is no version") }),
        }
    }
}

/// Reads the first two numbers of a version such as `2.39.5 (Apple Git-154)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests;
