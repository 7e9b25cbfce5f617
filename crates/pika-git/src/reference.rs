//! Moves references: all of a transaction, or nothing.
//!
//! Invariant: every change names what it expects to find, so two that meet can't both win.

use std::collections::BTreeMap;

use crate::branch::BranchName;
use crate::error::GitError;
use crate::oid::Oid;
use crate::repository::Repository;

/// One change to a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefChange {
    /// Makes a branch that must not be there yet.
    Create {
        /// The branch.
        branch: BranchName,
        /// Its first head.
        new: Oid,
    },
    /// Moves a branch.
    Update {
        /// The branch.
        branch: BranchName,
        /// Where it goes.
        new: Oid,
        /// Where it must be.
        old: Oid,
    },
    /// Removes a branch.
    Delete {
        /// The branch.
        branch: BranchName,
        /// Where it must be.
        old: Oid,
    },
    /// Changes nothing, and fails the transaction unless the branch is there.
    Verify {
        /// The branch.
        branch: BranchName,
        /// Where it must be.
        old: Oid,
    },
}

impl RefChange {
    /// The branch that is changed.
    pub fn branch(&self) -> &BranchName {
        match self {
            RefChange::Create { branch, .. }
            | RefChange::Update { branch, .. }
            | RefChange::Delete { branch, .. }
            | RefChange::Verify { branch, .. } => branch,
        }
    }

    fn expected(&self) -> Option<&Oid> {
        match self {
            RefChange::Create { .. } => None,
            RefChange::Update { old, .. } | RefChange::Delete { old, .. } | RefChange::Verify { old, .. } => {
                Some(old)
            }
        }
    }

    /// One line of `git update-ref --stdin`. A branch name has no space and no line end.
    fn line(&self) -> String {
        let reference = self.branch().reference();
        match self {
            RefChange::Create { new, .. } => format!("create {reference} {new}\n"),
            RefChange::Update { new, old, .. } => format!("update {reference} {new} {old}\n"),
            RefChange::Delete { old, .. } => format!("delete {reference} {old}\n"),
            RefChange::Verify { old, .. } => format!("verify {reference} {old}\n"),
        }
    }
}

/// Changes that happen together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefTransaction {
    /// The changes; at most one for a branch.
    pub changes: Vec<RefChange>,
    /// Why, in one line, for the log of each reference.
    pub reason: String,
}

impl Repository {
    /// Lists the branches with their heads, by name. A reference whose name is not UTF-8 is no branch here.
    pub async fn list_branches(&self) -> Result<Vec<(BranchName, Oid)>, GitError> {
        let what = "list the branches";
        let format = "--format=%(objectname) %(refname)";
        let answer = self.call(what).arguments(["for-each-ref", format, "refs/heads/"]).output().await?;
        let mut branches = Vec::new();
        for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(line) = str::from_utf8(line) else { continue };
            let (oid, reference) = line
                .split_once(' ')
                .ok_or_else(|| GitError::Answer { what, problem: format!("no space in {line:?}") })?;
            let oid = parse_oid(what, oid)?;
            if let Some(Ok(branch)) = BranchName::parse_reference(reference) {
                branches.push((branch, oid));
            }
        }
        Ok(branches)
    }

    /// Finds the head of a branch; `None` when there is no such branch.
    pub async fn find_branch(&self, branch: &BranchName) -> Result<Option<Oid>, GitError> {
        let what = "find a branch";
        let call =
            self.call(what).arguments(["rev-parse", "--verify", "--quiet"]).argument(branch.reference());
        let finished = call.run().await?;
        match finished.code {
            0 => parse_oid(what, String::from_utf8_lossy(&finished.stdout).trim_end()).map(Some),
            1 => Ok(None),
            _ => Err(finished.into_error(what)),
        }
    }

    /// Finds the branch that `HEAD` names: the default branch, whether it exists yet or not.
    pub async fn find_default_branch(&self) -> Result<Option<BranchName>, GitError> {
        let what = "read HEAD";
        let finished = self.call(what).arguments(["symbolic-ref", "--quiet", "HEAD"]).run().await?;
        match finished.code {
            0 => Ok(BranchName::parse_reference(String::from_utf8_lossy(&finished.stdout).trim_end())
                .and_then(Result::ok)),
            1 => Ok(None),
            _ => Err(finished.into_error(what)),
        }
    }

    /// Makes all changes, or none. No hook runs: who calls this knows what it did.
    ///
    /// [`GitError::RefMoved`] when a branch is not where a change expects it.
    pub async fn update_refs(&self, transaction: &RefTransaction) -> Result<(), GitError> {
        let what = "move the references";
        let mut lines = String::from("start\n");
        lines.extend(transaction.changes.iter().map(RefChange::line));
        lines.push_str("prepare\ncommit\n");
        let reason = transaction.reason.lines().next().unwrap_or_default();
        let call =
            self.call(what).arguments(["update-ref", "-m", reason, "--stdin"]).input(lines.into_bytes());
        let finished = call.run().await?;
        if finished.code == 0 {
            return Ok(());
        }
        match self.find_moved(transaction).await? {
            Some(moved) => Err(moved),
            None => Err(finished.into_error(what)),
        }
    }

    /// Looks for the change that could not be made. Git's exit code does not tell it.
    async fn find_moved(&self, transaction: &RefTransaction) -> Result<Option<GitError>, GitError> {
        let heads: BTreeMap<BranchName, Oid> = self.list_branches().await?.into_iter().collect();
        let moved = transaction.changes.iter().find(|change| heads.get(change.branch()) != change.expected());
        Ok(moved.map(|change| GitError::RefMoved {
            reference: change.branch().reference(),
            expected: change.expected().cloned(),
            found: heads.get(change.branch()).cloned(),
        }))
    }
}

/// Reads an id that git wrote.
pub(crate) fn parse_oid(what: &'static str, text: &str) -> Result<Oid, GitError> {
    Oid::parse(text).map_err(|error| GitError::Answer { what, problem: error.to_string() })
}
