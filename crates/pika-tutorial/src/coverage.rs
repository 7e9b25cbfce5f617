//! Says which hunks no step shows, so that a change can't hide from its own tutorial.

use std::collections::HashMap;

use crate::diff::{Diff, HunkId, LineKind};
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
        // A mode or a rename is a change to be shown, and no line.
        let (mut lines, mut lines_explained, mut is_any_shown) = (0, 0, false);
        for (index, line) in changed {
            is_any_shown |= is_shown(index);
            let is_line = line.kind != LineKind::Note;
            lines += usize::from(is_line);
            lines_explained += usize::from(is_line && is_shown(index));
        }
        // Nothing is left to show of a hunk that a damaged diff left without a changed line.
        let is_explained =
            is_any_shown || !hunk.hunk().lines.iter().any(|line| line.kind.is_change()) && !spans.is_empty();
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
