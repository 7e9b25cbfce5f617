//! What everyone must agree on: the records that a run leaves on disk, their ids, the manifest, and the contract with
//! the guest. Reading and writing the state root goes through this crate and nothing else knows its layout.
//!
//! # Glossary
//!
//! - **run**: one invocation of `pikaci run`; owns a folder `runs/<run_id>/`.
//! - **target**: a named group of jobs in the manifest, such as `pre-merge`.
//! - **job**: one command in one fresh machine; its latest **attempt** is what counts.
//! - **snapshot**: the frozen, content-addressed source tree that a run tests.
//! - **prepared output**: something built once and mounted read-only into jobs.
//! - **state root**: the folder that holds runs and snapshots.
//! - **guest**: where the command runs: an Incus instance, or a sandbox on the host.
//!
//! Invariant: no async runtime, no HTTP, no printing, no reading of the process environment.

mod escapes;
pub mod event;
#[cfg(test)]
mod formats;
pub mod guest;
pub mod id;
pub mod job;
pub mod junit;
pub mod manifest;
pub mod record;
pub mod store;
pub mod verdict;
pub mod why;

pub use event::{Event, FoldError, fold};
pub use id::{Digest, IdError, JobId, RunId, TargetId};
pub use job::{
    InstanceType, JobCommand, JobSpec, NixSource, OutputSpec, Provider, SECRET_NAME_BYTES_MAX, is_secret_name,
};
pub use junit::{FailedTest, JunitError, JunitReport, parse_junit};
pub use manifest::{MANIFEST_NAME, Manifest, ManifestError, SelectError, Selection, Target, Trigger};
pub use record::*;
pub use store::{
    LogSide, RunBundle, RunWriter, StateRoot, StoreError, load_logs, load_logs_metadata,
    load_prepared_outputs_record, load_run_bundle, load_run_record,
};
pub use verdict::{GuestExit, Verdict, verdict};
pub use why::{Why, explain};
