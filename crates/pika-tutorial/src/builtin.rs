//! Writes a tutorial without a model: finds the changed items, groups them, orders the groups, words them by templates.
//!
//! Invariants: every hunk is evidence of some step; every sentence is counted or quoted from the diff, none is guessed; no
//! network, no randomness, bounded time.

mod changes;
mod group;
mod items;
pub(crate) mod language;
mod order;
mod words;

#[cfg(test)]
mod tests;

use crate::answer::{Answer, ClaimedEvidence, ClaimedStep};
use crate::area::list_areas;
use crate::attributes::Attributes;
use crate::check::{Checked, check_own};
use crate::diff::{ChangeStatus, Diff};
use crate::sources::{Side, Sources};
use language::Language;

/// How many files are worth reading whole.
const FILES_MAX: usize = 2_000;

/// Lists the files that make a better tutorial when they are in the [`Sources`], both sides of them.
pub fn list_wanted_sources(diff: &Diff) -> Vec<(Side, Vec<u8>)> {
    let mut wanted: Vec<(Side, Vec<u8>)> =
        Attributes::list_files(diff).into_iter().map(|path| (Side::Head, path)).collect();
    let parsed = diff.files().iter().filter(|file| {
        !file.is_binary && file.added + file.removed > 0 && Language::of_path(&file.display_path()).is_some()
    });
    for file in parsed.take(FILES_MAX) {
        // A file that is new or gone stands in the diff as a whole.
        if file.status != ChangeStatus::Added && file.status != ChangeStatus::Deleted {
            wanted.push((Side::Head, file.path.clone()));
            wanted.push((Side::Base, file.old_path.clone().unwrap_or_else(|| file.path.clone())));
        }
    }
    wanted
}

/// Writes the tutorial of a diff, checked as any other.
pub fn explain_by_program(diff: &Diff, sources: &Sources) -> Checked {
    check_own(diff, &write(diff, sources))
}

fn write(diff: &Diff, sources: &Sources) -> Answer {
    let attributes = Attributes::read(diff, sources);
    let areas = list_areas(diff, &attributes);
    let changes = changes::find(diff, sources, &areas);
    let groups = order::sort(group::partition(diff, &areas, &changes), &changes);
    let uses = order::list_uses(&groups, &changes);
    let steps = groups
        .iter()
        .zip(&uses)
        .map(|(group, uses)| {
            let words = words::of_group(diff, &changes, group, &groups, uses);
            let evidence = group.items.iter().flat_map(|item| &changes[*item].spans).map(|span| {
                let hunk = diff.hunk_at(span.file, span.hunk);
                // A damaged diff has hunks without lines.
                let has_lines = !hunk.hunk().lines.is_empty();
                let lines = has_lines.then_some((span.first as u64, span.last as u64));
                ClaimedEvidence::Reference { hunk: hunk.id().to_string(), lines, path: None }
            });
            let mut affected_files: Vec<String> = Vec::new();
            let mut last = None;
            for item in &group.items {
                let file = changes[*item].file;
                if last != Some(file) {
                    affected_files.push(diff.files()[file].display_path());
                    last = Some(file);
                }
            }
            ClaimedStep {
                title: words.title,
                intent: words.intent,
                affected_files,
                evidence: evidence.collect(),
                body_markdown: words.body,
            }
        })
        .collect();
    Answer { executive_summary: words::summary(diff, &changes, &areas), steps }
}
