//! Patterns of relative paths: which changes concern a target, which artifacts are kept.
//!
//! Invariants: one compiler of patterns, so that a pattern means the same wherever it is used; a pattern of a manifest
//! stays below its root.

use std::ops::Range;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use toml::de::DeValue;

use super::leaf::Word;
use super::problem::Problems;
use super::table::{Located, Read, shown};
use crate::guest::ARTIFACTS_PATH;

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
fn compile(pattern: &str) -> Result<globset::Glob, PatternError> {
    GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| refused(&error))
}

/// The error without the pattern: where it is shown, the pattern is shown as well.
fn refused(error: &globset::Error) -> PatternError {
    PatternError { reason: error.kind().to_string() }
}

/// Patterns of relative paths, which can be used together.
#[derive(Clone, Debug, Default)]
pub(super) struct Globs(pub(super) Vec<String>);

impl Read for Globs {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Globs> {
        let globs: Vec<Located<Glob>> = Vec::read(key, value, span, problems)?;
        let patterns: Vec<String> = globs.into_iter().map(|glob| glob.value.0).collect();
        // Compiled here, where they are written, and not once for every job that inherits them.
        if let Err(error) = PathFilter::new(&patterns) {
            problems.push(
                span,
                format!("these patterns are too much together ({error}); write fewer or shorter ones"),
            );
            return None;
        }
        Some(Globs(patterns))
    }
}

/// One of them.
struct Glob(String);

impl Read for Glob {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Glob> {
        let Word(text) = Word::read(key, value, span, problems)?;
        let is_in_guest = matches!(key, "artifacts" | "junit");
        let root = if is_in_guest { ARTIFACTS_PATH } else { "the repository's root" };
        let fault = if text.starts_with('/') {
            let inner = text.strip_prefix(ARTIFACTS_PATH).filter(|_| is_in_guest).unwrap_or(&text);
            Some(format!(
                "is absolute, but is taken below {root}; write \"{}\"",
                inner.trim_start_matches('/')
            ))
        } else if text.split('/').any(|part| part == "..") {
            Some("leaves its folder by `..`; name what is inside".to_owned())
        } else if text.split('/').any(|part| part == ".") {
            Some("has a part `.`; leave it away".to_owned())
        } else if text.starts_with('!') {
            Some("begins with `!`; there is no excluding, name what is meant".to_owned())
        } else if text.ends_with('/') {
            Some(format!("names a folder and matches no file; write \"{text}**\""))
        } else {
            compile(&text).err().map(|error| format!("is no pattern: {error}"))
        };
        match fault {
            Some(fault) => {
                problems.push(span, format!("the pattern \"{}\" {fault}", shown(&text)));
                None
            }
            None => Some(Glob(text)),
        }
    }
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
