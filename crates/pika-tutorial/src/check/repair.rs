//! Puts evidence beside a step whose writer gave none: hunks of the files that the step names.

use std::collections::HashSet;

use crate::diff::{Diff, HunkRef};
use crate::tutorial::{Evidence, EvidenceState};

use super::{TEXT_LINES_MAX, quote_lines};

/// How many hunks are put in.
const HUNKS_MAX: usize = 3;
/// How many hunks are looked at for the words of the step.
const CANDIDATES_MAX: usize = 400;
/// The shortest name worth looking for.
const WORD_CHARS_MIN: usize = 4;

/// Picks hunks of `files`: those whose changed lines have most of the names that the step's texts have, in the order of
/// the diff.
pub(super) fn evidence(diff: &Diff, files: &[usize], texts: &[&str]) -> Vec<Evidence> {
    let words: HashSet<&str> = texts.iter().flat_map(|text| names(text)).collect();
    let mut scored: Vec<(usize, usize, HunkRef<'_>)> = files
        .iter()
        .flat_map(|file| diff.hunks_of(*file))
        .take(CANDIDATES_MAX)
        .enumerate()
        .map(|(order, hunk)| (score(hunk, &words), order, hunk))
        .collect();
    let best = scored.iter().map(|(score, ..)| *score).max().unwrap_or(0);
    scored.retain(|(score, ..)| best == 0 || *score > 0);
    scored.sort_by_key(|(score, order, _)| (std::cmp::Reverse(*score), *order));
    scored.truncate(HUNKS_MAX);
    scored.sort_by_key(|(_, order, _)| *order);
    scored
        .into_iter()
        .map(|(_, _, hunk)| {
            quote_lines(hunk, 0..hunk.hunk().lines.len(), EvidenceState::Repaired, TEXT_LINES_MAX)
        })
        .collect()
}

fn score(hunk: HunkRef<'_>, words: &HashSet<&str>) -> usize {
    let mut found = HashSet::new();
    for line in hunk.hunk().lines.iter().filter(|line| line.kind.is_change()) {
        let text = String::from_utf8_lossy(hunk.content(line));
        for name in names(&text) {
            if let Some(word) = words.get(name) {
                found.insert(*word);
            }
        }
    }
    found.len()
}

/// What could be a name of code: words with an underscore or a capital inside, or long ones.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    words.filter(|word| {
        let is_name = word.contains('_') || word.chars().skip(1).any(char::is_uppercase) || word.len() > 6;
        word.len() >= WORD_CHARS_MIN && is_name
    })
}
