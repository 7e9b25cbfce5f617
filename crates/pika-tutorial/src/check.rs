//! Holds an answer against the diff, step by step.
//!
//! Invariants: what comes out quotes the diff and nothing else; one step's fault never changes another step; the same
//! answer and diff give the same result.

mod path;
mod quote;
mod repair;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};

use crate::answer::{Answer, ClaimedEvidence, ClaimedStep};
use crate::coverage;
use crate::diff::{Diff, HunkRef};
use crate::finding::Finding;
use crate::tutorial::{Coverage, Evidence, EvidenceState, Step, StepState};

use path::Paths;
use quote::{Quotes, Segment};

const STEPS_MAX: usize = 100;
const EVIDENCE_MAX: usize = 60;
const FILES_MAX: usize = 500;
const TITLE_CHARS_MAX: usize = 300;
const INTENT_CHARS_MAX: usize = 3_000;
const BODY_CHARS_MAX: usize = 30_000;
const SUMMARY_CHARS_MAX: usize = 30_000;
/// How many lines a quotation shows; the place itself may be longer.
const TEXT_LINES_MAX: usize = 80;
/// The same in a tutorial of our own, which shows everything that changed.
const OWN_TEXT_LINES_MAX: usize = 16;
/// How much of something wrong is repeated in a finding.
const EXCERPT_CHARS_MAX: usize = 80;

/// An answer after the check.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The summary, never empty.
    pub executive_summary: String,
    /// The steps that say something.
    pub steps: Vec<Step>,
    /// Which hunks they show.
    pub coverage: Coverage,
    /// What was wrong.
    pub findings: Vec<Finding>,
}

/// Checks an answer.
pub fn check(diff: &Diff, answer: &Answer) -> Checked {
    check_within(diff, answer, Limits { evidence: EVIDENCE_MAX, text_lines: TEXT_LINES_MAX })
}

/// Checks an answer of our own, whose steps may show any number of places.
pub(crate) fn check_own(diff: &Diff, answer: &Answer) -> Checked {
    check_within(diff, answer, Limits { evidence: usize::MAX, text_lines: OWN_TEXT_LINES_MAX })
}

/// How much a step may show.
#[derive(Clone, Copy)]
struct Limits {
    evidence: usize,
    text_lines: usize,
}

fn check_within(diff: &Diff, answer: &Answer, limits: Limits) -> Checked {
    let mut checker = Checker::new(diff, limits);
    let mut kept: Vec<(usize, Step)> = Vec::new();
    if answer.steps.len() > STEPS_MAX {
        checker.findings.push(Finding::TooLong { place: "steps".to_owned() });
    }
    for (index, claimed) in answer.steps.iter().take(STEPS_MAX).enumerate() {
        if is_blank(claimed) {
            checker.findings.push(Finding::Blank { step: index });
        } else if let Some(of) = answer.steps[..index].iter().position(|earlier| earlier == claimed) {
            checker.findings.push(Finding::Duplicate { step: index, of });
        } else {
            kept.push((index, checker.step(index, claimed)));
        }
    }
    let mut executive_summary =
        checker.cut("executive_summary", &answer.executive_summary, SUMMARY_CHARS_MAX);
    if executive_summary.trim().is_empty() {
        checker.findings.push(Finding::NoSummary);
        executive_summary = count_summary(diff);
    }
    let steps: Vec<Step> = kept.into_iter().map(|(_, step)| step).collect();
    let coverage = coverage::measure(diff, &steps);
    Checked { executive_summary, steps, coverage, findings: checker.findings }
}

/// Describes a diff by its counts alone.
pub(crate) fn count_summary(diff: &Diff) -> String {
    let (added, removed) = diff.counts();
    let files = diff.files().len();
    let noun = if files == 1 { "file" } else { "files" };
    format!("This change touches {files} {noun}: {added} lines added, {removed} removed.")
}

fn is_blank(claimed: &ClaimedStep) -> bool {
    [&claimed.title, &claimed.intent, &claimed.body_markdown].iter().all(|text| text.trim().is_empty())
}

struct Checker<'a> {
    diff: &'a Diff,
    paths: Paths<'a>,
    quotes: Quotes<'a>,
    findings: Vec<Finding>,
    limits: Limits,
}

impl<'a> Checker<'a> {
    fn new(diff: &'a Diff, limits: Limits) -> Checker<'a> {
        Checker { diff, paths: Paths::new(diff), quotes: Quotes::new(diff), findings: Vec::new(), limits }
    }

    fn step(&mut self, index: usize, claimed: &ClaimedStep) -> Step {
        let place = |field: &str| format!("steps[{index}].{field}");
        let mut title = self.cut(&place("title"), claimed.title.trim(), TITLE_CHARS_MAX);
        let intent = self.cut(&place("intent"), claimed.intent.trim(), INTENT_CHARS_MAX);
        let body_markdown = self.cut(&place("body_markdown"), &claimed.body_markdown, BODY_CHARS_MAX);
        let mut files = self.files(index, &claimed.affected_files);
        let mut evidence = self.evidence(index, &claimed.evidence, &files);
        let state = if !evidence.is_empty() {
            StepState::Verified
        } else {
            let texts = [title.as_str(), intent.as_str(), body_markdown.as_str()];
            if files.is_empty() {
                files = self.paths.named_in(&texts);
            }
            evidence = repair::evidence(self.diff, &files, &texts);
            if evidence.is_empty() { StepState::Unsupported } else { StepState::Repaired }
        };
        match state {
            StepState::Verified => {}
            StepState::Repaired => self.findings.push(Finding::Repaired { step: index }),
            StepState::Unsupported => self.findings.push(Finding::Unsupported { step: index }),
        }
        let mut known: HashSet<usize> = files.iter().copied().collect();
        for shown in &evidence {
            if let Some(hunk) = self.diff.find_hunk(shown.hunk.as_str())
                && known.insert(hunk.file_index())
            {
                files.push(hunk.file_index());
            }
        }
        if title.is_empty() {
            let first = intent.lines().next().filter(|line| !line.is_empty());
            title =
                first.map_or_else(|| format!("Step {}", index + 1), |line| excerpt(line, TITLE_CHARS_MAX));
        }
        // Two paths that are not UTF-8 may look the same.
        let mut known = HashSet::new();
        let paths = files.into_iter().map(|file| self.diff.files()[file].display_path());
        let affected_files: Vec<String> = paths.filter(|path| known.insert(path.clone())).collect();
        Step {
            title,
            intent,
            affected_files,
            evidence_snippets: evidence.iter().map(|evidence| evidence.text.clone()).collect(),
            body_markdown,
            state,
            evidence,
            stale_since: None,
            earlier_snippets: Vec::new(),
        }
    }

    /// The places in the diff of the files that a step names.
    fn files(&mut self, step: usize, claimed: &[String]) -> Vec<usize> {
        let files_max = FILES_MAX.max(self.limits.evidence);
        if claimed.len() > files_max {
            self.findings.push(Finding::TooLong { place: format!("steps[{step}].affected_files") });
        }
        let mut files = Vec::new();
        let mut known = HashSet::new();
        for path in claimed.iter().take(files_max).filter(|path| !path.trim().is_empty()) {
            match self.paths.find(path) {
                Some(file) => {
                    if known.insert(file) {
                        files.push(file);
                    }
                }
                None => {
                    self.findings.push(Finding::UnknownFile { step, path: excerpt(path, EXCERPT_CHARS_MAX) });
                }
            }
        }
        files
    }

    fn evidence(&mut self, step: usize, claimed: &[ClaimedEvidence], files: &[usize]) -> Vec<Evidence> {
        if claimed.len() > self.limits.evidence {
            self.findings.push(Finding::TooLong { place: format!("steps[{step}].evidence") });
        }
        let mut evidence: Vec<Evidence> = Vec::new();
        let mut seen = HashSet::new();
        for one in claimed.iter().take(self.limits.evidence) {
            let found = match one {
                ClaimedEvidence::Reference { hunk, lines, path } => {
                    self.reference(step, hunk, *lines, path.as_deref(), files)
                }
                ClaimedEvidence::Quote { text, path } => self.quote(step, text, path.as_deref(), files),
            };
            for one in found {
                if seen.insert((one.hunk.clone(), one.lines)) {
                    evidence.push(one);
                }
            }
        }
        evidence
    }

    fn reference(
        &mut self,
        step: usize,
        id: &str,
        lines: Option<(u64, u64)>,
        path: Option<&str>,
        files: &[usize],
    ) -> Vec<Evidence> {
        let wanted = id.trim().trim_matches(['`', '[', ']', '#']);
        let file = path.and_then(|path| self.paths.find(path));
        let found = self.diff.find_hunk(wanted).or_else(|| self.quotes.find_header(id, file, files));
        let Some(hunk) = found else {
            self.findings.push(Finding::UnknownHunk { step, hunk: excerpt(id, EXCERPT_CHARS_MAX) });
            return Vec::new();
        };
        let count = hunk.hunk().lines.len();
        let range = match lines {
            None => 0..count,
            Some(lines) => find_lines(hunk, lines).unwrap_or_else(|| {
                self.findings.push(Finding::LinesOutside { step, hunk: wanted.to_owned() });
                0..count
            }),
        };
        vec![quote_lines(hunk, range, EvidenceState::Verified, self.limits.text_lines)]
    }

    fn quote(&mut self, step: usize, text: &str, path: Option<&str>, files: &[usize]) -> Vec<Evidence> {
        let mut evidence = Vec::new();
        let segments = quote::split(text);
        if segments.is_empty() {
            self.findings.push(Finding::EmptySnippet { step });
        }
        for segment in segments {
            if !segment.has_substance() {
                self.findings.push(Finding::EmptySnippet { step });
                continue;
            }
            let named = segment.path.as_deref().or(path).and_then(|path| self.paths.find(path));
            match self.quotes.find(&segment, named, files) {
                Some((hunk, lines)) => {
                    evidence.push(quote_lines(hunk, lines, EvidenceState::Verified, self.limits.text_lines));
                }
                None => self.findings.push(Finding::InventedSnippet { step, begins: begins(&segment) }),
            }
        }
        evidence
    }

    fn cut(&mut self, place: &str, text: &str, chars_max: usize) -> String {
        let Some((end, _)) = text.char_indices().nth(chars_max) else { return text.to_owned() };
        self.findings.push(Finding::TooLong { place: place.to_owned() });
        format!("{}…", &text[..end])
    }
}

fn begins(segment: &Segment<'_>) -> String {
    let line = segment.lines.iter().find(|line| !line.trim().is_empty()).copied();
    excerpt(line.or(segment.header).unwrap_or_default().trim(), EXCERPT_CHARS_MAX)
}

/// The beginning of a text, on one line.
pub(crate) fn excerpt(text: &str, chars_max: usize) -> String {
    let mut excerpt: String = text.chars().take(chars_max).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    excerpt
}

/// Reads a claim about lines: places within the hunk from 1, or, beyond those, numbers of the file after the change.
fn find_lines(hunk: HunkRef<'_>, (first, last): (u64, u64)) -> Option<std::ops::Range<usize>> {
    let (first, last) = (first.min(last), first.max(last));
    let count = hunk.hunk().lines.len();
    if first >= 1 && last <= count as u64 {
        return Some(usize::try_from(first - 1).ok()?..usize::try_from(last).ok()?);
    }
    let is_within = |number: Option<u64>| number.is_some_and(|number| (first..=last).contains(&number));
    let of_file: BTreeSet<usize> =
        hunk.numbered().filter(|line| is_within(line.new)).map(|line| line.index).collect();
    Some(*of_file.first()?..*of_file.last()? + 1)
}

/// Puts a place of the diff into a tutorial.
fn quote_lines(
    hunk: HunkRef<'_>,
    lines: std::ops::Range<usize>,
    state: EvidenceState,
    text_lines_max: usize,
) -> Evidence {
    let shown = lines.start..lines.end.min(lines.start + text_lines_max);
    let omitted_lines = lines.end - shown.end;
    let mut text = hunk.text(shown);
    if text.is_empty() {
        text.clone_from(&hunk.hunk().header);
    }
    Evidence {
        path: hunk.file().display_path(),
        hunk: hunk.id().clone(),
        digest: hunk.hunk().digest.clone(),
        lines: (lines.start + 1, lines.end),
        text,
        omitted_lines,
        state,
    }
}
