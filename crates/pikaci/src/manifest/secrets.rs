//! Which lanes of a forge get which secrets: a policy that counts on the default branch alone.

use std::collections::BTreeMap;

use super::paths::PathFilter;
use super::problem::Problems;
use super::raw::RawSecret;
use super::table::Located;
use crate::id::TargetId;
use crate::job::is_secret_name;

/// Who gets a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretPolicy {
    /// Patterns of the branches; `*` stays within one part of a name.
    branches: PathFilter,
    /// The targets; `None`: all.
    targets: Option<Vec<TargetId>>,
}

impl SecretPolicy {
    /// Whether a lane of this target gets the secret on this branch.
    pub fn covers(&self, branch: &str, target: &TargetId) -> bool {
        self.branches.matches(&[branch])
            && self.targets.as_ref().is_none_or(|targets| targets.contains(target))
    }
}

/// Makes policies of what was read.
pub(super) fn policies(
    raw: Vec<(Located<String>, RawSecret)>,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, SecretPolicy> {
    let mut policies = BTreeMap::new();
    for (Located { value: name, span }, raw) in raw {
        if !is_secret_name(&name) {
            problems.push(&span, format!("{name:?} is not the name of a secret"));
            continue;
        }
        // That they compile was seen when they were read.
        let Some(branches) = raw.branches.and_then(|globs| PathFilter::new(globs.value.0.0).ok()) else {
            continue;
        };
        let targets =
            raw.targets.map(|targets| targets.value.into_iter().map(|target| target.value).collect());
        policies.insert(name, SecretPolicy { branches, targets });
    }
    policies
}
