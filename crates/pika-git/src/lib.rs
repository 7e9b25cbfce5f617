//! The bare repositories of a forge: branches, history, diffs, merges, and git's own wire protocol. Beside them, what a
//! command on a person's machine asks about their checkout.
//!
//! # Glossary
//!
//! - **repository**: one bare repository on this machine, held as a [`Repository`].
//! - **branch**: a reference below `refs/heads/`; its name is a [`BranchName`], its commit is its **head**.
//! - **base**: the commit that a branch is compared with, as a rule the merge base with its target.
//! - **target**: the branch that another one is merged into.
//! - **work tree**: a person's checkout, held as a [`WorkTree`]: it is read and pushed from, and nothing of it is changed.
//! - **service**: one side of the wire protocol: `upload-pack` answers a fetch, `receive-pack` answers a push.
//!
//! Invariant: git is a program that is run, never linked. It runs in its own process group with an environment that is
//! built from nothing, a deadline, and bounded output; its messages are shown to people and never matched.

mod branch;
mod command;
mod copy;
mod diff;
mod error;
mod history;
mod merge;
mod mirror;
mod oid;
mod patch;
mod process;
mod quarantine;
mod reference;
mod repository;
mod wire;
mod work_tree;

pub use branch::{BRANCH_NAME_BYTES_MAX, BranchName, BranchNameError};
pub use command::Git;
pub use diff::{Diff, DiffLimits, DiffLine, FileDiff, Hunk, LineKind};
pub use error::GitError;
pub use history::{ChangeStatus, ChangedPath, Commit};
pub use merge::{MergeError, MergeRequest, Signature};
pub use mirror::{MirrorCredential, MirrorTarget, Mirrored};
pub use oid::{Oid, OidError};
pub use quarantine::Quarantine;
pub use reference::{RefChange, RefTransaction};
pub use repository::{POST_RECEIVE, PRE_RECEIVE, Repository};
pub use wire::{Service, WireEnd, WireProtocol, WireRequest, WireStep};
pub use work_tree::{PatchEnd, Push, Pushed, WorkTree};

#[cfg(test)]
mod fixture;
