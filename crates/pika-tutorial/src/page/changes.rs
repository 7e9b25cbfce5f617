//! The diff on a page: files, hunks, lines, with the lines marked that steps show.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use crate::diff::{ChangeStatus, Diff, HunkRef, LineKind};
use crate::tutorial::Tutorial;

use super::text::visible;

/// Which steps show which lines.
pub(super) struct Marks {
    by_hunk: HashMap<String, Vec<(usize, usize, usize)>>,
}

impl Marks {
    pub(super) fn new(tutorial: &Tutorial) -> Marks {
        let mut by_hunk: HashMap<String, Vec<(usize, usize, usize)>> = HashMap::new();
        for (index, step) in tutorial.steps.iter().enumerate().filter(|(_, step)| step.stale_since.is_none())
        {
            for evidence in &step.evidence {
                let spans = by_hunk.entry(evidence.hunk.to_string()).or_default();
                spans.push((evidence.lines.0, evidence.lines.1, index + 1));
            }
        }
        Marks { by_hunk }
    }

    /// The steps that show a line of a hunk, both counted from 1.
    fn steps(&self, hunk: &str, line: usize) -> BTreeSet<usize> {
        let spans = self.by_hunk.get(hunk).map(Vec::as_slice).unwrap_or_default();
        spans
            .iter()
            .filter(|(first, last, _)| (*first..=*last).contains(&line))
            .map(|(.., step)| *step)
            .collect()
    }

    fn spans(&self, hunk: &str) -> &[(usize, usize, usize)] {
        self.by_hunk.get(hunk).map(Vec::as_slice).unwrap_or_default()
    }
}

/// A file on a page.
pub(super) struct FileView<'a> {
    pub(super) number: usize,
    pub(super) path: String,
    pub(super) old_path: Option<String>,
    pub(super) status: &'static str,
    pub(super) added: usize,
    pub(super) removed: usize,
    pub(super) is_binary: bool,
    pub(super) is_open: bool,
    diff: &'a Diff,
    marks: &'a Marks,
    form: Form,
}

/// How the lines of a file are on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Written out.
    Whole,
    /// As data that the page's script writes out.
    Data,
    /// At this address.
    Elsewhere(String),
}

/// A hunk on a page.
pub(super) struct HunkView {
    pub(super) id: String,
    pub(super) header: String,
    /// The steps that show some line of it.
    pub(super) steps: BTreeSet<usize>,
    pub(super) lines: Vec<LineView>,
}

/// A line on a page.
pub(super) struct LineView {
    pub(super) number: usize,
    pub(super) class: &'static str,
    pub(super) is_shown: bool,
    pub(super) old: String,
    pub(super) new: String,
    pub(super) mark: String,
    pub(super) text: String,
    pub(super) has_no_newline: bool,
}

/// A hunk for the script to write out when its file is opened.
#[derive(Serialize)]
struct Deferred {
    id: String,
    header: String,
    old: u64,
    new: u64,
    marks: usize,
    lines: String,
    /// The places, from 0, of lines at whose end the file ends without a line end.
    bare_ends: Vec<usize>,
    spans: Vec<(usize, usize, usize)>,
}

impl<'a> FileView<'a> {
    pub(super) fn new(
        diff: &'a Diff,
        index: usize,
        marks: &'a Marks,
        form: Form,
        is_open: bool,
    ) -> FileView<'a> {
        let file = &diff.files()[index];
        FileView {
            number: index + 1,
            path: visible(&file.display_path()),
            old_path: file.display_old_path().map(|path| visible(&path)),
            status: status_word(file.status),
            added: file.added,
            removed: file.removed,
            is_binary: file.is_binary,
            is_open,
            diff,
            marks,
            form,
        }
    }

    /// Where its lines are, when they are not on the page.
    pub(super) fn address(&self) -> Option<&str> {
        match &self.form {
            Form::Elsewhere(address) => Some(address),
            Form::Whole | Form::Data => None,
        }
    }

    pub(super) fn hunks(&self) -> Vec<HunkView> {
        if self.form != Form::Whole {
            return Vec::new();
        }
        self.diff.hunks_of(self.number - 1).map(|hunk| view_hunk(hunk, self.marks)).collect()
    }

    /// The hunks as JSON that can stand in a script element.
    pub(super) fn deferred(&self) -> Option<String> {
        if self.form != Form::Data {
            return None;
        }
        let deferred: Vec<Deferred> =
            self.diff.hunks_of(self.number - 1).map(|hunk| defer_hunk(hunk, self.marks)).collect();
        // No text of the diff can end the element.
        Some(serde_json::to_string(&deferred).unwrap_or_default().replace('<', "\\u003c"))
    }
}

pub(super) fn status_word(status: ChangeStatus) -> &'static str {
    match status {
        ChangeStatus::Added => "new",
        ChangeStatus::Deleted => "deleted",
        ChangeStatus::Modified => "changed",
        ChangeStatus::Renamed => "renamed",
        ChangeStatus::Copied => "copied",
        ChangeStatus::Unmerged => "not merged",
    }
}

/// Puts lines of a hunk into a view, as many as `lines` has.
pub(super) fn view_lines(
    hunk: HunkRef<'_>,
    lines: std::ops::Range<usize>,
    marks: Option<&Marks>,
) -> Vec<LineView> {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let id = hunk.id().as_str();
    hunk.numbered()
        .skip(lines.start)
        .take(lines.len())
        .map(|line| {
            let marked = hunk.marked(line.line);
            let content = hunk.content(line.line);
            LineView {
                number: line.index + 1,
                class: match line.line.kind {
                    LineKind::Context => "same",
                    LineKind::Added => "add",
                    LineKind::Removed => "remove",
                    LineKind::Note => "note",
                },
                is_shown: marks.is_some_and(|marks| !marks.steps(id, line.index + 1).is_empty()),
                old: number(line.old),
                new: number(line.new),
                mark: String::from_utf8_lossy(&marked[..marked.len() - content.len()]).trim().to_owned(),
                text: visible(&String::from_utf8_lossy(content)),
                has_no_newline: line.line.has_no_newline,
            }
        })
        .collect()
}

fn view_hunk(hunk: HunkRef<'_>, marks: &Marks) -> HunkView {
    let id = hunk.id().to_string();
    HunkView {
        steps: marks.spans(&id).iter().map(|(.., step)| *step).collect(),
        header: visible(&hunk.hunk().header),
        lines: view_lines(hunk, 0..hunk.hunk().lines.len(), Some(marks)),
        id,
    }
}

fn defer_hunk(hunk: HunkRef<'_>, marks: &Marks) -> Deferred {
    let entry = hunk.hunk();
    let lines: Vec<String> =
        entry.lines.iter().map(|line| visible(&String::from_utf8_lossy(hunk.marked(line)))).collect();
    Deferred {
        id: entry.id.to_string(),
        header: visible(&entry.header),
        old: entry.old.first().map_or(0, |range| range.start),
        new: entry.new.map_or(0, |range| range.start),
        marks: if entry.is_note() { 0 } else { entry.old.len() },
        lines: lines.join("\n"),
        bare_ends: (0..entry.lines.len()).filter(|index| entry.lines[*index].has_no_newline).collect(),
        spans: marks.spans(entry.id.as_str()).to_vec(),
    }
}
