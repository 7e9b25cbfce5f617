//! `[[repositories.rules]]`: who may move which branches and tags of a repository.
//!
//! Invariant: what a rule leaves out is safe: no force, no deletion.

use serde::Deserialize;
use toml::Spanned;

use super::Checker;
use crate::forge::push_rules::{Permitted, PushRule, parse_pattern};

const RULES_MAX: usize = 100;
const PATTERN_BYTES_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pattern: Spanned<String>,
    push: Option<Permitted>,
    merge: Option<Permitted>,
    force: Option<Permitted>,
    delete: Option<Permitted>,
}

impl Checker<'_> {
    pub(super) fn rules(&mut self, raw: Vec<RawRule>) -> Vec<PushRule> {
        if let Some(rule) = raw.get(RULES_MAX) {
            self.push(rule.pattern.span(), format!("a repository may have {RULES_MAX} rules"));
        }
        raw.into_iter()
            .map(|rule| PushRule {
                pattern: self.pattern(rule.pattern),
                push: rule.push.unwrap_or(Permitted::Write),
                merge: rule.merge.unwrap_or(Permitted::Write),
                force: rule.force.unwrap_or(Permitted::Never),
                delete: rule.delete.unwrap_or(Permitted::Never),
            })
            .collect()
    }

    /// A pattern over full names; one without `refs/` is about branches.
    fn pattern(&mut self, raw: Spanned<String>) -> String {
        let (span, text) = (raw.span(), raw.into_inner());
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            self.push(span, format!("`pattern` must have 1 to {PATTERN_BYTES_MAX} bytes"));
            return text;
        }
        let is_full = text.starts_with("refs/");
        if is_full && !text.starts_with("refs/heads/") && !text.starts_with("refs/tags/") {
            let message = format!(
                "`pattern` is {text:?}; branches and tags alone can be pushed: write \"release/*\" or \"refs/tags/v*\""
            );
            self.push(span, message);
            return text;
        }
        if let Err(error) = parse_pattern(&text) {
            self.push(span, format!("`pattern` is no glob: {}", error.kind()));
        }
        if is_full { text } else { format!("refs/heads/{text}") }
    }
}
