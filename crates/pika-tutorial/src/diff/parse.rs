//! Reads the lines of a diff: where a file begins, its headers, its hunks.
//!
//! Invariant: a line that looks like a change and stands where changes stand is never dropped, even when a header's
//! numbers deny it; it is kept and reported.

use super::file_header::{FileHeader, Finished};
use super::identity;
use super::ranges::{self, Ranges};
use super::{ChangeStatus, FileChange, Hunk, HunkId, Line, LineKind, LineRange};

/// How many problems are reported. A file that is no diff at all would fill memory with them.
const PROBLEMS_MAX: usize = 100;

/// Parses everything.
pub(super) fn parse(source: &[u8]) -> (Vec<FileChange>, Vec<String>) {
    let mut parser = Parser { source, position: 0, files: Vec::new(), problems: Vec::new() };
    parser.run();
    for file in &mut parser.files {
        file.recount();
        for hunk in &mut file.hunks {
            hunk.digest = identity::digest(source, &hunk.lines);
        }
    }
    identity::name_all(&mut parser.files);
    (parser.files, parser.problems)
}

struct Parser<'a> {
    source: &'a [u8],
    position: usize,
    files: Vec<FileChange>,
    problems: Vec<String>,
}

/// A line without its end, and where it stands.
#[derive(Clone, Copy)]
struct RawLine<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl RawLine<'_> {
    fn note(self) -> Line {
        line(LineKind::Note, 0, self.start..self.start + self.bytes.len())
    }
}

/// A header line is the same with the line end of another system.
fn header(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn line(kind: LineKind, marks: usize, place: std::ops::Range<usize>) -> Line {
    Line { kind, has_no_newline: false, marks, place }
}

impl<'a> Parser<'a> {
    fn run(&mut self) {
        while let Some(raw) = self.peek() {
            let bytes = header(raw.bytes);
            if let Some(rest) = bytes.strip_prefix(b"diff --git ") {
                self.advance(raw);
                self.section(FileHeader::git(rest));
            } else if let Some(rest) =
                bytes.strip_prefix(b"diff --cc ").or_else(|| bytes.strip_prefix(b"diff --combined "))
            {
                self.advance(raw);
                self.section(FileHeader::merge(rest));
            } else if self.is_plain_start(raw) {
                self.section(FileHeader::plain());
            } else if let Some(file_header) = FileHeader::single_line(bytes) {
                self.advance(raw);
                self.single_line(file_header, raw);
            } else {
                self.advance(raw);
            }
        }
    }

    fn peek(&self) -> Option<RawLine<'a>> {
        self.line_at(self.position)
    }

    fn line_at(&self, start: usize) -> Option<RawLine<'a>> {
        let rest = self.source.get(start..).filter(|rest| !rest.is_empty())?;
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        Some(RawLine { bytes: &rest[..end], start })
    }

    fn line_after(&self, raw: RawLine<'_>) -> Option<RawLine<'a>> {
        self.line_at(raw.start + raw.bytes.len() + 1)
    }

    fn advance(&mut self, raw: RawLine<'_>) {
        self.position = raw.start + raw.bytes.len() + 1;
    }

    fn report(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// A file without a `diff` line: `---`, `+++`, and a hunk.
    fn is_plain_start(&self, raw: RawLine<'_>) -> bool {
        let Some(second) = self.line_after(raw) else { return false };
        let Some(third) = self.line_after(second) else { return false };
        raw.bytes.starts_with(b"--- ")
            && second.bytes.starts_with(b"+++ ")
            && ranges::read(header(third.bytes)).is_some()
    }

    fn is_section_start(&self, raw: RawLine<'_>) -> bool {
        let bytes = header(raw.bytes);
        [&b"diff --git "[..], b"diff --cc ", b"diff --combined "].iter().any(|word| bytes.starts_with(word))
            || FileHeader::single_line(bytes).is_some()
            || self.is_plain_start(raw)
    }

    /// Reads a file's headers and hunks.
    fn section(&mut self, mut file_header: FileHeader) {
        let mut notes = Vec::new();
        while let Some(raw) = self.peek() {
            let bytes = header(raw.bytes);
            let is_own = file_header.expects(bytes);
            if bytes.starts_with(b"@@")
                || !is_own && self.is_section_start(raw)
                || !file_header.read_line(bytes)
            {
                break;
            }
            self.advance(raw);
            if FileHeader::is_note(bytes) {
                notes.push(raw.note());
            }
            if bytes == b"GIT binary patch" {
                self.skip_binary_patch(&mut notes);
            }
        }
        let mut hunks = Vec::new();
        while let Some(raw) = self.peek() {
            let bytes = header(raw.bytes);
            if let Some(found) = ranges::read(bytes) {
                self.advance(raw);
                hunks.push(self.hunk(bytes, found));
            } else if let Some(last) = hunks.last_mut()
                && self.is_stray(raw)
            {
                self.advance(raw);
                let kind = if raw.bytes[0] == b'+' { LineKind::Added } else { LineKind::Removed };
                last.lines.push(line(kind, 1, raw.start..raw.start + raw.bytes.len()));
                let problem = format!("a changed line stands beyond the end of the hunk {}", last.header);
                self.report(problem);
            } else {
                if bytes.starts_with(b"@@") {
                    self.advance(raw);
                    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
                    self.report(format!("{shown:?} is no header of a hunk"));
                    continue;
                }
                break;
            }
        }
        let Some(finished) = file_header.finish(&hunks) else {
            self.report("a file without a name was left out".to_owned());
            return;
        };
        self.push(finished, hunks, notes);
    }

    /// A changed line right after a hunk whose header promised fewer. Mail ends with `-- `.
    fn is_stray(&self, raw: RawLine<'_>) -> bool {
        let is_signature = matches!(header(raw.bytes), b"-- " | b"--");
        matches!(raw.bytes.first(), Some(b'+' | b'-')) && !is_signature && !self.is_section_start(raw)
    }

    fn push(&mut self, finished: Finished, text_hunks: Vec<Hunk>, mut notes: Vec<Line>) {
        let mut hunks = Vec::new();
        if !finished.is_binary {
            // The names of the contents change with the lines; beside a mode they would make its digest change too.
            notes.retain(|note| !self.source[note.place.clone()].starts_with(b"index "));
        }
        // A change of the mode is not in the lines; nor is anything in a file without lines.
        if text_hunks.is_empty() || finished.has_mode_change() {
            hunks.push(note_hunk(finished.note(), notes));
        }
        hunks.extend(text_hunks);
        self.files.push(FileChange {
            path: finished.path,
            old_path: finished.old_path,
            status: finished.status,
            old_mode: finished.old_mode,
            new_mode: finished.new_mode,
            is_binary: finished.is_binary,
            parents: finished.parents,
            added: 0,
            removed: 0,
            hunks,
        });
    }

    /// A file that one line tells everything of, and what is indented below it.
    fn single_line(&mut self, file_header: FileHeader, raw: RawLine<'_>) {
        let mut notes = vec![raw.note()];
        while let Some(next) = self.peek()
            && (next.bytes.starts_with(b"  > ") || next.bytes.starts_with(b"  < "))
        {
            notes.push(next.note());
            self.advance(next);
        }
        if let Some(finished) = file_header.finish(&[]) {
            self.push(finished, Vec::new(), notes);
        }
    }

    /// Base 85 in lines, up to an empty one, for each direction. The contents are told apart by the line `index`.
    fn skip_binary_patch(&mut self, notes: &mut Vec<Line>) {
        while let Some(raw) = self.peek() {
            let bytes = header(raw.bytes);
            let begins = bytes.starts_with(b"literal ") || bytes.starts_with(b"delta ");
            if !begins {
                return;
            }
            notes.push(raw.note());
            self.advance(raw);
            while let Some(data) = self.peek() {
                self.advance(data);
                if header(data.bytes).is_empty() {
                    break;
                }
            }
        }
    }

    fn hunk(&mut self, header_line: &[u8], ranges: Ranges) -> Hunk {
        let marks = ranges.old.len();
        let mut left = Left::new(&ranges);
        let mut lines = Vec::new();
        while let Some(raw) = self.peek() {
            if raw.bytes.first() == Some(&b'\\') {
                self.advance(raw);
                if let Some(last) = lines.last_mut() {
                    let last: &mut Line = last;
                    last.has_no_newline = true;
                }
                continue;
            }
            if left.is_used_up() {
                break;
            }
            let Some(kind) = left.take(raw.bytes, marks) else { break };
            self.advance(raw);
            lines.push(line(kind, marks, raw.start..raw.start + raw.bytes.len()));
        }
        let shown = String::from_utf8_lossy(header_line).into_owned();
        if !left.is_used_up() {
            self.report(format!("the hunk {shown} has fewer lines than its header says"));
        }
        if left.is_overdrawn {
            self.report(format!("the hunk {shown} has more lines of one side than its header says"));
        }
        Hunk {
            id: HunkId::new(String::new()),
            digest: String::new(),
            header: shown,
            old: ranges.old,
            new: Some(ranges.new),
            lines,
        }
    }
}

fn note_hunk(header: String, lines: Vec<Line>) -> Hunk {
    Hunk { id: HunkId::new(String::new()), digest: String::new(), header, old: Vec::new(), new: None, lines }
}

/// How many lines of each side a hunk still owes.
struct Left {
    old: Vec<u64>,
    new: u64,
    is_overdrawn: bool,
}

impl Left {
    fn new(ranges: &Ranges) -> Left {
        let old = ranges.old.iter().map(|range: &LineRange| range.count).collect();
        Left { old, new: ranges.new.count, is_overdrawn: false }
    }

    fn is_used_up(&self) -> bool {
        self.new == 0 && self.old.iter().all(|left| *left == 0)
    }

    /// Judges the marks of a line and counts it. `None` when it is no line of a hunk.
    fn take(&mut self, bytes: &[u8], marks: usize) -> Option<LineKind> {
        // Some programs strip white space at line ends, which leaves nothing of an empty context line.
        let is_bare = matches!(bytes, b"" | b"\r");
        let column = |index: usize| if is_bare { b' ' } else { bytes.get(index).copied().unwrap_or(b' ') };
        let has = |mark: u8| (0..marks).any(|index| column(index) == mark);
        if (0..marks).any(|index| !matches!(column(index), b' ' | b'+' | b'-')) || has(b'+') && has(b'-') {
            return None;
        }
        let kind = match (has(b'+'), has(b'-')) {
            (true, _) => LineKind::Added,
            (_, true) => LineKind::Removed,
            (false, false) => LineKind::Context,
        };
        let of_parent = if kind == LineKind::Removed { b'-' } else { b' ' };
        for index in 0..marks {
            if column(index) == of_parent {
                self.is_overdrawn |= self.old[index] == 0;
                self.old[index] = self.old[index].saturating_sub(1);
            }
        }
        if kind != LineKind::Removed {
            self.is_overdrawn |= self.new == 0;
            self.new = self.new.saturating_sub(1);
        }
        Some(kind)
    }
}

impl Finished {
    /// Describes a change that has no lines.
    fn note(&self) -> String {
        let mode = |mode: Option<u32>| mode.map_or_else(|| "none".to_owned(), |mode| format!("{mode:06o}"));
        if self.has_mode_change() {
            return format!("mode {} to {}", mode(self.old_mode), mode(self.new_mode));
        }
        let what = if self.is_binary { "binary file" } else { "file without lines" };
        match self.status {
            ChangeStatus::Added => format!("{what} added"),
            ChangeStatus::Deleted => format!("{what} deleted"),
            ChangeStatus::Renamed if self.is_binary => "binary file renamed".to_owned(),
            ChangeStatus::Renamed => "renamed without a change of its lines".to_owned(),
            ChangeStatus::Copied => "copied without a change of its lines".to_owned(),
            ChangeStatus::Unmerged => "not merged".to_owned(),
            ChangeStatus::Modified => format!("{what} changed"),
        }
    }
}
