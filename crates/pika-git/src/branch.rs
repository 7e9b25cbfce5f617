//! Names one branch.
//!
//! Invariant: a [`BranchName`] is one that git accepts below `refs/heads/`, in UTF-8, and can't be taken for an option.

use std::fmt;
use std::str::FromStr;

/// The longest name of a branch, in bytes.
pub const BRANCH_NAME_BYTES_MAX: usize = 250;

/// Why a text is not the name of a branch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BranchNameError {
    /// Empty, or longer than [`BRANCH_NAME_BYTES_MAX`].
    #[error("a branch name has 1 to {BRANCH_NAME_BYTES_MAX} bytes, this one has {bytes}")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// Breaks a rule of git-check-ref-format.
    #[error("{text:?} is not a branch name: {rule}")]
    Rule {
        /// The text.
        text: String,
        /// What such a name must not do.
        rule: &'static str,
    },
}

/// One branch, such as `main` or `topic/login`, without `refs/heads/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(String);

impl BranchName {
    /// Reads a name by the rules of git-check-ref-format for branches.
    pub fn parse(text: &str) -> Result<BranchName, BranchNameError> {
        if text.is_empty() || text.len() > BRANCH_NAME_BYTES_MAX {
            return Err(BranchNameError::Length { bytes: text.len() });
        }
        match find_broken_rule(text) {
            Some(rule) => Err(BranchNameError::Rule { text: text.to_owned(), rule }),
            None => Ok(BranchName(text.to_owned())),
        }
    }

    /// Reads a full reference; `None` when it lies elsewhere than below `refs/heads/`.
    pub fn parse_reference(reference: &str) -> Option<Result<BranchName, BranchNameError>> {
        reference.strip_prefix("refs/heads/").map(BranchName::parse)
    }

    /// The name as text, without `refs/heads/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full reference.
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

fn find_broken_rule(text: &str) -> Option<&'static str> {
    let is_forbidden = |character: char| {
        character.is_ascii_control() || matches!(character, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
    };
    if text.chars().any(is_forbidden) {
        return Some("it holds a control character, a space, or one of ~^:?*[\\");
    }
    if text.starts_with('-') {
        return Some("it starts with '-'");
    }
    if text == "HEAD" || text == "@" {
        return Some("git gives this word another meaning");
    }
    // Git would take `main` to mean `refs/heads/main` and `refs/heads/refs/heads/main` alike, and push neither.
    if text.starts_with("refs/") {
        return Some("it begins with 'refs/'");
    }
    if text.contains("..") || text.contains("@{") {
        return Some("it holds '..' or '@{'");
    }
    if text.ends_with('.') {
        return Some("it ends with '.'");
    }
    let is_bad_component =
        |component: &str| component.is_empty() || component.starts_with('.') || component.ends_with(".lock");
    if text.split('/').any(is_bad_component) {
        return Some("a part between '/' is empty, starts with '.', or ends with '.lock'");
    }
    None
}

impl fmt::Display for BranchName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for BranchName {
    type Err = BranchNameError;
    fn from_str(text: &str) -> Result<BranchName, BranchNameError> {
        BranchName::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_every_day_are_accepted() {
        for text in
            ["main", "topic/login", "v1.0", "a@b", "ümlaut", "a-b_c", "x/HEAD", "dependabot/npm/@types/x"]
        {
            assert_eq!(BranchName::parse(text).map(|name| name.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_git_or_a_command_line_would_misread_is_refused() {
        let long = "a".repeat(BRANCH_NAME_BYTES_MAX + 1);
        let refused = [
            "",
            "-x",
            "--help",
            "HEAD",
            "@",
            "a..b",
            ".a",
            "a/.b",
            "a/",
            "/a",
            "a//b",
            "a.lock",
            "a.lock/b",
            "a.",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a@{0}",
            "a\0b",
            "a\nb",
            "a\x7f",
            "refs/heads/main",
            &long,
        ];
        for text in refused {
            assert!(BranchName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_references_below_heads_are_branches() {
        assert_eq!(BranchName::parse_reference("refs/tags/v1"), None);
        assert_eq!(BranchName::parse_reference("refs/heads/main").map(|name| name.is_ok()), Some(true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn git_agrees_with_every_verdict(text in "[-a.@{}/~ lock\\x01HEAD]{1,12}") {
            // Git expands these to whatever is or was checked out.
            prop_assume!(!text.contains("@{") && text != "-" && text != "@");
            let mut git = Command::new("git");
            git.args(["check-ref-format", "--branch", &text]).env("GIT_DIR", "/nonexistent");
            let git = git.output().unwrap();
            prop_assert_eq!(BranchName::parse(&text).is_ok(), git.status.success(), "{:?}", text);
        }
    }
}
