//! Patterns of relative paths: which changes concern a target, which artifacts are kept.
//!
//! Invariant: one compiler of patterns, so that a pattern means the same wherever it is used.

use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// A list of path patterns, compiled. `*` stays within a folder, `**` does not.
#[derive(Clone, Debug)]
pub struct PathFilter {
    patterns: Vec<String>,
    compiled: GlobSet,
}

/// Why patterns cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    /// What is wrong with which pattern.
    pub reason: String,
}

impl PathFilter {
    /// Compiles patterns of paths relative to a root: of the repository, or of `/artifacts`.
    pub fn new(patterns: impl IntoIterator<Item = impl Into<String>>) -> Result<PathFilter, PatternError> {
        let patterns: Vec<String> = patterns.into_iter().map(Into::into).collect();
        let mut set = GlobSetBuilder::new();
        for pattern in &patterns {
            set.add(compile(pattern)?);
        }
        Ok(PathFilter { compiled: set.build().map_err(|error| refused(&error))?, patterns })
    }

    /// The patterns as they were written.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether any of the paths matches any of the patterns.
    pub fn matches(&self, paths: &[impl AsRef<Path>]) -> bool {
        paths.iter().any(|path| self.compiled.is_match(path))
    }
}

impl PartialEq for PathFilter {
    fn eq(&self, other: &PathFilter) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for PathFilter {}

/// Compiles one pattern.
pub(super) fn compile(pattern: &str) -> Result<globset::Glob, PatternError> {
    GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| refused(&error))
}

/// The error without the pattern: where it is shown, the pattern is shown as well.
fn refused(error: &globset::Error) -> PatternError {
    PatternError { reason: error.kind().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_stays_within_a_folder_and_two_do_not() {
        let filter = PathFilter::new(["crates/**", "*.toml", "{a,b}/x"]).unwrap();
        let matches = |path: &str| filter.matches(&[path]);
        assert!(matches("crates/pikaci/src/lib.rs"));
        assert!(matches("Cargo.toml"));
        assert!(!matches("docs/Cargo.toml"));
        assert!(matches("b/x"));
        assert!(!matches("README.md"));
        assert!(!filter.matches(&[] as &[&str]));
        assert!(filter.matches(&["README.md", "crates/a"]));
    }
}
