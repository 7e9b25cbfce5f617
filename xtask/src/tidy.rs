//! `cargo xtask tidy`: formatting, lints, and the rules that neither knows.
//!
//! Invariant: every check runs even when an earlier one failed, and each violation names a place and a remedy.

mod floors;
mod rust_source;
mod workspace;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cargo;
use workspace::Workspace;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Relative to the workspace's root.
    pub(crate) file: PathBuf,
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong and what to do about it.
    pub(crate) message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// Runs every check. An error names how many failed.
pub(crate) fn run() -> Result<()> {
    let mut failed = Vec::new();
    let violations = find_violations(cargo::root())?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    if !violations.is_empty() {
        failed.push(format!("{} broken rules, listed above", violations.len()));
    }
    let commands: [(&[&str], &str); 2] = [
        (&["fmt", "--all", "--", "--check"], "run `cargo fmt --all`"),
        (
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--keep-going",
                "--quiet",
                "--",
                "--deny",
                "warnings",
            ],
            "mend what clippy shows",
        ),
    ];
    for (arguments, remedy) in commands {
        if let Err(error) = cargo::run(arguments) {
            failed.push(format!("{error}: {remedy}"));
        }
    }
    if !failed.is_empty() {
        bail!("tidy: {}", failed.join("; "));
    }
    eprintln!("tidy: formatting, lints, floors and rules hold");
    Ok(())
}

/// Holds the workspace at `root` against the rules, sorted by place.
fn find_violations(root: &Path) -> Result<Vec<Violation>> {
    let workspace = Workspace::read(root)?;
    let mut violations = floors::check(&workspace);
    let mut sources = workspace.rust_sources()?;
    let tests: BTreeSet<PathBuf> = sources.iter().flat_map(rust_source::test_modules).collect();
    for source in &mut sources {
        source.is_test |= tests.contains(&source.path);
        violations.extend(rust_source::check(source));
    }
    violations.sort();
    Ok(violations)
}
