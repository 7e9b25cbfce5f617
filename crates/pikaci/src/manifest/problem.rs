//! What is wrong with a manifest, and where.
//!
//! Invariant: whatever the text holds, what is shown of it is bounded and free of control characters.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::MANIFEST_NAME;

/// The most problems that are collected; a text that is no manifest at all must not fill a screen without end.
const PROBLEMS_MAX: usize = 50;
/// The most characters of a source line that are shown.
const SHOWN_CHARS_MAX: usize = 100;
/// Characters kept left of the place, when a line is too long to be shown whole.
const SHOWN_CHARS_BEFORE: usize = 40;

/// Everything that is wrong with a manifest, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct ManifestError {
    /// At least one.
    pub problems: Vec<Problem>,
    /// How many more there are that were not kept.
    pub omitted: usize,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        if self.omitted > 0 {
            write!(formatter, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

/// One thing that is wrong, at a place of the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The line of the text, or the part of a long line that is around the place.
    pub source: String,
    /// The characters of `source` that are meant.
    pub mark: Range<usize>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { line, column, message, source, mark } = self;
        write!(formatter, "{MANIFEST_NAME}:{line}:{column}: {message}")?;
        if source.trim().is_empty() {
            return Ok(());
        }
        let number = line.to_string();
        // A tab stays a tab, so that the mark stands below its place at any tab width.
        let indent: String =
            source.chars().take(mark.start).map(|it| if it == '\t' { it } else { ' ' }).collect();
        write!(formatter, "\n  {number} | {source}")?;
        write!(
            formatter,
            "\n  {:width$} | {indent}{}",
            "",
            "^".repeat(mark.len().max(1)),
            width = number.len()
        )
    }
}

/// Collects problems while a text is read.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    found: Vec<(Range<usize>, String)>,
    omitted: usize,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Problems<'t> {
        Problems { text, found: Vec::new(), omitted: 0 }
    }

    /// Notes a problem at a range of bytes. The same problem at the same place counts once: a default is read by every
    /// job.
    pub(super) fn push(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let problem = (span.clone(), message.into());
        if self.found.contains(&problem) {
            return;
        }
        if !self.is_full() {
            self.found.push(problem);
        } else {
            self.omitted += 1;
        }
    }

    /// Whether further problems are only counted: working out a remedy for one is in vain then, and a hostile text has
    /// very many.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= PROBLEMS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The line of a byte, from 1.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// What was read, or the error that the problems make.
    pub(super) fn finish<T>(mut self, read: T) -> Result<T, ManifestError> {
        if self.found.is_empty() {
            return Ok(read);
        }
        self.found.sort_by_key(|(span, _)| span.start);
        let problems = self.found.iter().map(|(span, message)| self.placed(span, message)).collect();
        Err(ManifestError { problems, omitted: self.omitted })
    }

    fn placed(&self, span: &Range<usize>, message: &str) -> Problem {
        let start = floor_char_boundary(self.text, span.start);
        let end = floor_char_boundary(self.text, span.end).max(start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |position| position + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |position| start + position);
        let line = self.text[line_start..line_end].trim_end_matches('\r');
        let chars_before = self.text[line_start..start].chars().count();
        let chars_marked = self.text[start..end.min(line_end)].trim_end().chars().count();
        let (source, mark) = excerpt(line, chars_before..chars_before + chars_marked);
        Problem {
            line: self.line_of(start),
            column: chars_before + 1,
            message: printable(message),
            source,
            mark,
        }
    }
}

/// Cuts a long line to what is around the marked characters.
fn excerpt(line: &str, mark: Range<usize>) -> (String, Range<usize>) {
    let is_long = line.chars().nth(SHOWN_CHARS_MAX).is_some();
    let skipped = if is_long { mark.start.saturating_sub(SHOWN_CHARS_BEFORE) } else { 0 };
    let source: String = line.chars().skip(skipped).take(SHOWN_CHARS_MAX).collect();
    let start = mark.start - skipped;
    let end = (mark.end - skipped).min(SHOWN_CHARS_MAX).max(start);
    (printable(&source), start..end)
}

/// Replaces what a terminal would act on. Keeps tabs.
fn printable(text: &str) -> String {
    text.chars()
        .map(|it| if it.is_control() && it != '\t' { char::REPLACEMENT_CHARACTER } else { it })
        .collect()
}

fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
