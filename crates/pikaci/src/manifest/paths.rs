//! Which changed paths concern a target.

use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// The path patterns of a target, compiled.
#[derive(Clone, Debug)]
pub struct PathFilter {
    patterns: Vec<String>,
    compiled: GlobSet,
}

impl PathFilter {
    /// Compiles patterns of paths relative to the repository's root. `*` stays within a folder, `**` does not.
    pub(super) fn new(patterns: Vec<String>) -> Result<PathFilter, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for pattern in &patterns {
            set.add(compile(pattern)?);
        }
        Ok(PathFilter { compiled: set.build()?, patterns })
    }

    /// The patterns as they were written.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether any of the paths matches any of the patterns.
    pub fn matches(&self, changed: &[impl AsRef<Path>]) -> bool {
        changed.iter().any(|path| self.compiled.is_match(path))
    }
}

impl PartialEq for PathFilter {
    fn eq(&self, other: &PathFilter) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for PathFilter {}

/// Compiles one pattern.
pub(super) fn compile(pattern: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_stays_within_a_folder_and_two_do_not() {
        let filter = PathFilter::new(vec!["crates/**".into(), "*.toml".into(), "{a,b}/x".into()]).unwrap();
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
