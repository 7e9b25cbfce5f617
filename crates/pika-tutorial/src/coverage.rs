//! Says which hunks no step shows, so that a change can't hide from its own tutorial.

use std::collections::HashMap;

use crate::diff::{Diff, HunkId};
use crate::tutorial::{Coverage, Step};

/// Measures which hunks the steps show. Stale steps show nothing of this diff.
pub fn measure(diff: &Diff, steps: &[Step]) -> Coverage {
    let mut shown: HashMap<&HunkId, Vec<(usize, usize)>> = HashMap::new();
    for evidence in steps.iter().filter(|step| step.stale_since.is_none()).flat_map(|step| &step.evidence) {
        shown.entry(&evidence.hunk).or_default().push(evidence.lines);
    }
    let mut coverage = Coverage::default();
    for hunk in diff.hunks() {
        let spans = shown.get(hunk.id()).map(Vec::as_slice).unwrap_or_default();
        let is_shown =
            |index: usize| spans.iter().any(|(first, last)| (*first..=*last).contains(&(index + 1)));
        let changed = hunk.hunk().lines.iter().enumerate().filter(|(_, line)| line.kind.is_change());
        let (mut lines, mut lines_explained) = (0, 0);
        for (index, _) in changed {
            lines += 1;
            lines_explained += usize::from(is_shown(index));
        }
        // Nothing is left to show of a hunk that a damaged diff left without a changed line.
        let is_explained = lines_explained > 0 || lines == 0 && !spans.is_empty();
        coverage.hunks += 1;
        coverage.lines += lines;
        coverage.lines_explained += lines_explained;
        if is_explained {
            coverage.explained += 1;
        } else {
            coverage.unexplained.push(hunk.id().clone());
        }
    }
    coverage
}
