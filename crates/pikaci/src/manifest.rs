//! `pikaci.toml`: what a repository wants to be run.
//!
//! Invariant: a [`Manifest`] is whole. Every name that it mentions exists, every pattern stays below its root, needs
//! lead to an end, every bound holds; code that has one checks none of it again.

mod check;
mod leaf;
mod nearest;
mod needs;
mod paths;
mod prepared;
mod problem;
mod quantity;
mod raw;
mod schema;
mod secrets;
mod select;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use toml::de::DeTable;

pub use paths::{PathFilter, PatternError};
pub use problem::{ManifestError, Problem};
pub use quantity::{SizeError, parse_size_bytes};
pub use schema::json_schema;
pub use secrets::SecretPolicy;
pub use select::{SelectError, Selection};

use crate::id::TargetId;
use crate::job::{JobSpec, OutputSpec};
use problem::Problems;

/// The manifest's name, at the root of the tested repository.
pub const MANIFEST_NAME: &str = "pikaci.toml";
/// The largest manifest that is read, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 1024 * 1024;
/// The most jobs of all targets together.
pub const JOBS_MAX: usize = 500;
/// The most entries of any list or table of variables.
const ENTRIES_MAX: usize = 500;
/// The version of the format that is read.
const VERSION: i64 = 1;

/// What a repository wants to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    targets: Vec<Target>,
    prepared: BTreeMap<String, PreparedSpec>,
    secrets: BTreeMap<String, SecretPolicy>,
}

impl Manifest {
    /// Reads a manifest. The error holds everything that is wrong with it, not the first thing only.
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        let mut problems = Problems::new(text);
        let manifest = read(text, &mut problems);
        problems.finish(manifest)
    }

    /// Reads a manifest of bytes that may not even be text.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Manifest::parse(text),
            Err(error) => {
                let text = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let mut problems = Problems::new(&text);
                problems
                    .push(&(text.len()..text.len()), "the text is not UTF-8 from here on; save it as UTF-8");
                problems.finish(Manifest::nothing())
            }
        }
    }

    /// What is left when nothing could be read. The problem that says so keeps it from being seen.
    fn nothing() -> Manifest {
        Manifest { targets: Vec::new(), prepared: BTreeMap::new(), secrets: BTreeMap::new() }
    }

    /// The targets, in the order of the text; at least one.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Finds a target by its id.
    pub fn find_target(&self, id: &TargetId) -> Option<&Target> {
        self.targets.iter().find(|target| target.id == *id)
    }

    /// The prepared outputs that jobs may name, sorted by name.
    pub fn prepared(&self) -> impl Iterator<Item = &PreparedSpec> {
        self.prepared.values()
    }

    /// The secrets that a lane of this target gets on this branch, as this manifest has it. A forge asks the one of the default
    /// branch, never the one that is tested.
    pub fn list_secrets_for<'m>(
        &'m self,
        branch: &'m str,
        target: &'m TargetId,
    ) -> impl Iterator<Item = &'m str> {
        let covered = self.secrets.iter().filter(move |(_, policy)| policy.covers(branch, target));
        covered.map(|(name, _)| name.as_str())
    }

    /// Finds a prepared output by its name.
    pub fn find_prepared(&self, name: &str) -> Option<&PreparedSpec> {
        self.prepared.get(name)
    }
}

/// A group of jobs that are run and judged together.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The target's name.
    pub id: TargetId,
    /// What a person reads; the name when there is no title.
    pub title: String,
    /// The changes that the target is for; `None`: every change.
    pub paths: Option<PathFilter>,
    /// What starts it. Empty: only people do.
    pub on: Vec<Trigger>,
    /// Whether a branch needs it to pass before it is merged.
    pub required: bool,
    /// The limit that it shares with others.
    pub concurrency: Option<Concurrency>,
    /// The jobs, in the order of the text; at least one.
    pub jobs: Vec<JobSpec>,
}

impl Target {
    /// Whether a change of these paths concerns the target. Asked only when there is a base to compare with.
    pub fn matches(&self, changed: &[impl AsRef<Path>]) -> bool {
        self.paths.as_ref().is_none_or(|paths| paths.matches(changed))
    }
}

/// What starts a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A branch was pushed.
    Branch,
    /// The night.
    Nightly,
}

/// A limit that targets share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Targets of one group count together.
    pub group: String,
    /// How many of the group run at the same time; the same wherever the group is named.
    pub size: u32,
}

/// Something that is built once and mounted read-only into the jobs that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedSpec {
    /// What it is.
    pub output: OutputSpec,
    /// The job that makes it, but for its target.
    job: JobSpec,
}

impl PreparedSpec {
    /// The job that makes it. For the provider `nix`, the command only says what is built.
    pub fn job(&self, target: &TargetId) -> JobSpec {
        JobSpec { target_id: target.clone(), ..self.job.clone() }
    }
}

/// Reads as much as can be read, and notes what is wrong with it.
fn read<'t>(text: &'t str, problems: &mut Problems<'t>) -> Manifest {
    if text.len() > MANIFEST_BYTES_MAX {
        let message = format!("the manifest has {} bytes; at most {MANIFEST_BYTES_MAX} are read", text.len());
        problems.push(&(0..0), message);
        return Manifest::nothing();
    }
    let (table, syntax_errors) = DeTable::parse_recoverable(text);
    if !syntax_errors.is_empty() {
        // What could be guessed of a text with broken syntax would be reported wrongly as well.
        for error in syntax_errors {
            problems.push(&error.span().unwrap_or(0..0), error.message());
        }
        return Manifest::nothing();
    }
    let mut other_problems = Problems::new(text);
    let raw: raw::RawManifest = table::read_table(table.get_ref(), 0..0, &mut other_problems);
    // A manifest of another version is wrong in its version, and in nothing that this program could judge.
    if !check::is_readable_version(&raw, problems) {
        return Manifest::nothing();
    }
    *problems = other_problems;
    check::manifest(raw, problems)
}
