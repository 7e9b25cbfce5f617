//! What stands in the way of a merge that rules and lanes allow: paths that both sides changed.
//!
//! Invariant: what was found for two commits is kept, because it never changes; how much is kept is bounded.

use pika_git::Oid;
use quick_cache::sync::Cache;

use super::view::{BranchView, MergeReadiness};
use super::{ForgeError, Hosted};

/// Pairs of a target's commit and a head.
const PAIRS_MAX: usize = 2000;
/// A branch that conflicts in more is told about these, and how many more there are.
const PATHS_NAMED: usize = 3;

/// The conflicts that were looked for.
pub(super) struct Conflicts {
    found: Cache<(Oid, Oid), Vec<String>>,
}

impl Conflicts {
    pub(super) fn new() -> Conflicts {
        Conflicts { found: Cache::new(PAIRS_MAX) }
    }

    /// Lets a branch that is ready otherwise be ready only if it merges cleanly with the target as it is now.
    ///
    /// This only tells beforehand: whoever merges finds conflicts again, of what is there then.
    pub(super) async fn consider(&self, hosted: &Hosted, view: &mut BranchView) -> Result<(), ForgeError> {
        if !view.merge.is_ready {
            return Ok(());
        }
        let head = super::error::parse_oid(&view.head.oid)?;
        let Some(target) = hosted.git.find_branch(&hosted.default_branch).await? else { return Ok(()) };
        let pair = (target, head);
        let look = async { hosted.git.list_conflicts(&pair.0, &pair.1).await };
        match self.found.get_or_insert_async(&pair, look).await {
            Ok(paths) if paths.is_empty() => {}
            Ok(paths) => {
                let reason = Some(described(&paths, &view.merge_target));
                view.merge = MergeReadiness { is_ready: false, reason };
            }
            // The merge itself will say so, if it is asked for.
            Err(error) => tracing::debug!(%error, "conflicts could not be looked for"),
        }
        Ok(())
    }
}

fn described(paths: &[String], target: &str) -> String {
    let named = paths.iter().take(PATHS_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match paths.len().saturating_sub(PATHS_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("it conflicts with {target} in {named}{more}; merge {target} into it or rebase it, and push")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_paths_are_named_and_the_others_counted() {
        let paths: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        let advice = "; merge main into it or rebase it, and push";
        assert_eq!(described(&paths[..1], "main"), format!("it conflicts with main in a{advice}"));
        assert_eq!(
            described(&paths, "main"),
            format!("it conflicts with main in a, b, c and 2 more{advice}")
        );
    }
}
