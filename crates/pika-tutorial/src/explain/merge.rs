//! Puts answers together so that no step that held is lost.

use std::collections::HashSet;

use crate::check::Checked;
use crate::coverage;
use crate::diff::{Diff, HunkId};
use crate::tutorial::{Step, StepState};

/// The steps of all parts, one after the other.
pub(super) fn concatenated(diff: &Diff, parts: &[Checked]) -> Checked {
    let summaries: Vec<&str> = parts.iter().map(|part| part.executive_summary.as_str()).collect();
    let steps: Vec<Step> = parts.iter().flat_map(|part| part.steps.iter().cloned()).collect();
    let coverage = coverage::measure(diff, &steps);
    let findings = parts.iter().flat_map(|part| part.findings.iter().cloned()).collect();
    Checked { executive_summary: summaries.join("\n\n"), steps, coverage, findings }
}

/// Of an answer and its mended version, the better one, with what held in the other alone.
pub(super) fn better(diff: &Diff, first: Checked, second: Checked) -> Checked {
    let score = |checked: &Checked| {
        let verified = checked.steps.iter().filter(|step| step.state == StepState::Verified).count();
        (verified, checked.coverage.explained)
    };
    if score(&second) >= score(&first) {
        keeping(diff, second, &first)
    } else {
        keeping(diff, first, &second)
    }
}

/// `chosen`, with the verified steps of `other` that show hunks which no verified step of `chosen` shows.
pub(super) fn keeping(diff: &Diff, mut chosen: Checked, other: &Checked) -> Checked {
    let verified = |step: &&Step| step.state == StepState::Verified;
    let shown: HashSet<HunkId> = chosen.steps.iter().filter(verified).flat_map(hunks).cloned().collect();
    let lost: Vec<Step> = other
        .steps
        .iter()
        .filter(verified)
        .filter(|step| !hunks(step).all(|hunk| shown.contains(hunk)))
        .cloned()
        .collect();
    if !lost.is_empty() {
        chosen.steps.extend(lost);
        chosen.coverage = coverage::measure(diff, &chosen.steps);
    }
    chosen
}

fn hunks(step: &Step) -> impl Iterator<Item = &HunkId> {
    step.evidence.iter().map(|evidence| &evidence.hunk)
}
