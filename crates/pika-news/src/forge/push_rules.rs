//! Who may move which reference: one pure function, asked by every push and by every merge.
//!
//! Invariants: the default branch is only ever loosened by a rule that names it; what is not a branch or a tag is nobody's
//! to push; every refusal says what would be right.

use globset::{GlobBuilder, GlobMatcher};
use pika_git::BranchName;
use serde::Deserialize;

use crate::auth::Role;

const BRANCHES: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";

/// Who may do one thing to a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permitted {
    /// Whoever may push at all.
    Write,
    /// Administrators of the repository.
    Admin,
    /// Nobody.
    Never,
}

impl Permitted {
    fn allows(self, role: Role) -> bool {
        match self {
            Permitted::Write => role >= Role::Write,
            Permitted::Admin => role >= Role::Admin,
            Permitted::Never => false,
        }
    }
}

/// Who may do what to the references that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushRule {
    /// A glob over full names: `refs/heads/release/*`, `refs/tags/v*`. `*` stops at a slash, `**` does not.
    pub pattern: String,
    /// Make it, and move it forward.
    pub push: Permitted,
    /// Merge into it through the forge.
    pub merge: Permitted,
    /// Move it anywhere else.
    pub force: Permitted,
    /// Remove it.
    pub delete: Permitted,
}

/// Builds a matcher for a pattern of a rule; the error says what is wrong with it.
pub fn parse_pattern(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()?;
    Ok(glob.compile_matcher())
}

/// How a reference is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefMove {
    /// It is new.
    Create,
    /// It goes to a descendant of where it was.
    Forward,
    /// It goes anywhere else.
    Force,
    /// It goes away.
    Delete,
    /// The forge merges a branch into it.
    Merge,
}

/// The rules of one repository.
#[derive(Clone, Debug)]
pub struct PushRules {
    default_branch: String,
    rules: Vec<(GlobMatcher, PushRule)>,
}

impl PushRules {
    /// Takes rules whose patterns were checked; one whose pattern can't be read matches nothing.
    pub fn new(default_branch: &BranchName, rules: &[PushRule]) -> PushRules {
        let compiled = |rule: &PushRule| Some((parse_pattern(&rule.pattern).ok()?, rule.clone()));
        PushRules {
            default_branch: default_branch.reference(),
            rules: rules.iter().filter_map(compiled).collect(),
        }
    }

    /// Decides whether somebody with this role may move a reference so; the error is a sentence for them.
    pub fn decide(&self, role: Option<Role>, reference: &str, change: RefMove) -> Result<(), String> {
        let (kind, name) = self.named(reference, change)?;
        let Some(role) = role.filter(|role| *role >= Role::Write) else {
            return Err(format!(
                "{kind} {name}: this needs the role `write` in the repository; ask one of its administrators"
            ));
        };
        let (rule, is_built_in) = self.rule(reference);
        // Somebody has to begin, and nothing is lost by it.
        if is_built_in && change == RefMove::Create && reference == self.default_branch {
            return Ok(());
        }
        let permitted = match change {
            RefMove::Create | RefMove::Forward => rule.push,
            RefMove::Force => rule.force.max(rule.push),
            RefMove::Delete => rule.delete,
            RefMove::Merge => rule.merge,
        };
        if permitted.allows(role) { Ok(()) } else { Err(refusal(&kind, name, change, permitted)) }
    }

    /// What kind of thing a reference is, and its name; refuses what the forge does not take.
    fn named<'r>(&self, reference: &'r str, change: RefMove) -> Result<(String, &'r str), String> {
        if let Some(tag) = reference.strip_prefix(TAGS).filter(|tag| !tag.is_empty()) {
            return Ok(("tag".to_owned(), tag));
        }
        match BranchName::parse_reference(reference) {
            Some(Ok(_)) => {}
            // What came in over a file path may go again.
            Some(Err(_)) if change == RefMove::Delete => {}
            Some(Err(error)) => {
                return Err(format!("{reference}: {error}; the forge can't follow it: use another name"));
            }
            None => {
                return Err(format!(
                    "{reference}: this forge takes branches (refs/heads/…) and tags (refs/tags/…) only; leave it out of the push"
                ));
            }
        }
        let kind = if reference == self.default_branch { "default branch" } else { "branch" };
        Ok((kind.to_owned(), reference.strip_prefix(BRANCHES).unwrap_or(reference)))
    }

    /// The first rule that matches, else the built-in one.
    fn rule(&self, reference: &str) -> (PushRule, bool) {
        let is_default = reference == self.default_branch;
        let matches = |(matcher, rule): &&(GlobMatcher, PushRule)| match is_default {
            true => rule.pattern == reference,
            false => matcher.is_match(reference),
        };
        match self.rules.iter().find(matches) {
            Some((_, rule)) => (rule.clone(), false),
            None => (built_in(reference, is_default), true),
        }
    }
}

/// What holds where no rule does.
fn built_in(reference: &str, is_default: bool) -> PushRule {
    use Permitted::{Admin, Never, Write};
    let (push, force, delete) = match (is_default, reference.starts_with(TAGS)) {
        (true, _) => (Admin, Never, Never),
        // A tag that moves is another tag to everybody who has it.
        (false, true) => (Write, Never, Admin),
        (false, false) => (Write, Write, Write),
    };
    PushRule { pattern: reference.to_owned(), push, merge: Write, force, delete }
}

fn refusal(kind: &str, name: &str, change: RefMove, permitted: Permitted) -> String {
    let is_default = kind == "default branch";
    let (deed, instead) = match change {
        RefMove::Merge => ("merging into it", "ask one of its administrators"),
        RefMove::Create | RefMove::Forward if is_default => {
            ("pushing to it", "push another branch and merge it through the forge")
        }
        RefMove::Create | RefMove::Forward => ("pushing to it", "push another name"),
        RefMove::Force if kind == "tag" => ("moving it", "push a new tag"),
        RefMove::Force => ("a push that is no fast-forward", "rebase onto it, or push another name"),
        RefMove::Delete => ("deleting it", "leave it, or change the repository's rules"),
    };
    match permitted {
        Permitted::Never => format!("{kind} {name}: {deed} is not allowed; {instead}"),
        Permitted::Admin | Permitted::Write => {
            let role = if permitted == Permitted::Admin { "admin" } else { "write" };
            format!("{kind} {name}: {deed} needs the role `{role}` in the repository; {instead}")
        }
    }
}

#[cfg(test)]
mod tests;
