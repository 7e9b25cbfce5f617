//! A unified diff, parsed: files, hunks, lines.
//!
//! Invariants: parsing never fails and never drops a file or a hunk; what could not be understood is listed in
//! [`Diff::problems`]. Every file has at least one hunk, so that a change without lines can be pointed at too. A line is a
//! place in the bytes that were parsed, so its text is the diff's own, byte for byte.

mod file_header;
mod identity;
mod parse;
mod path;
mod ranges;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use identity::hex;

/// The difference between two states of a tree.
#[derive(Clone)]
pub struct Diff {
    source: Arc<[u8]>,
    files: Vec<FileChange>,
    problems: Vec<String>,
    by_id: HashMap<HunkId, (usize, usize)>,
}

/// What happened to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Its path, as bytes: git does not promise UTF-8. The old one when the file is gone.
    pub path: Vec<u8>,
    /// Where it came from, when it was renamed or copied.
    pub old_path: Option<Vec<u8>>,
    /// What happened to it.
    pub status: ChangeStatus,
    /// Git's mode before, such as `0o100644`; `None` when the diff does not say.
    pub old_mode: Option<u32>,
    /// Git's mode after; `None` when the diff does not say.
    pub new_mode: Option<u32>,
    /// Whether it was compared as bytes, without lines.
    pub is_binary: bool,
    /// How many parents it is compared with; 1 unless the diff is that of a merge.
    pub parents: usize,
    /// How many lines were added.
    pub added: usize,
    /// How many lines were removed.
    pub removed: usize,
    /// What changed in it, at least one.
    pub hunks: Vec<Hunk>,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeStatus {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// Its content or its mode changed.
    Modified,
    /// It came from another path, which is gone.
    Renamed,
    /// It came from another path, which is still there.
    Copied,
    /// A merge of it was not finished.
    Unmerged,
}

/// Names a hunk within a diff, such as `h1a2b3c4d`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HunkId(String);

/// Neighbouring changes of one file, or one change that has no lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Its name in this diff; the same in another diff that has the same hunk at the same path.
    pub id: HunkId,
    /// Of its lines alone, in hexadecimal: neither line numbers nor the path are part of it.
    pub digest: String,
    /// The whole header line, such as `@@ -1,3 +1,4 @@ fn main() {`, or words for a change without lines.
    pub header: String,
    /// Where its lines were, once for each parent. Empty for a change without lines.
    pub old: Vec<LineRange>,
    /// Where its lines are; `None` for a change without lines.
    pub new: Option<LineRange>,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// Consecutive lines of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineRange {
    /// The first one, counted from 1; 0 when there are none.
    pub start: u64,
    /// How many.
    pub count: u64,
}

/// One line of a hunk: a place in the diff's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What became of it.
    pub kind: LineKind,
    /// Whether the file ends here without a line end.
    pub has_no_newline: bool,
    /// How many of its bytes are marks: one for each parent, none for a note.
    marks: usize,
    place: Range<usize>,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineKind {
    /// It is the same before and after.
    Context,
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is git's own remark about a change that has no lines.
    Note,
}

impl LineKind {
    /// Whether something changed here.
    pub fn is_change(self) -> bool {
        self != LineKind::Context
    }
}

impl HunkId {
    pub(crate) fn new(text: String) -> HunkId {
        HunkId(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HunkId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl LineRange {
    /// Whether the two have a line in common.
    pub fn overlaps(self, other: LineRange) -> bool {
        self.start < other.start + other.count && other.start < self.start + self.count
    }
}

impl FileChange {
    /// Its path for people, with U+FFFD for what is not UTF-8.
    pub fn display_path(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// Where it came from, for people.
    pub fn display_old_path(&self) -> Option<String> {
        self.old_path.as_ref().map(|path| String::from_utf8_lossy(path).into_owned())
    }

    /// Whether it is a commit of another repository.
    pub fn is_submodule(&self) -> bool {
        const SUBMODULE: u32 = 0o160_000;
        self.old_mode == Some(SUBMODULE) || self.new_mode == Some(SUBMODULE)
    }
}

impl Hunk {
    /// Whether it stands for a change that has no lines, such as a mode.
    pub fn is_note(&self) -> bool {
        self.new.is_none()
    }

    /// How many lines were added.
    pub fn added(&self) -> usize {
        self.count(LineKind::Added)
    }

    /// How many lines were removed.
    pub fn removed(&self) -> usize {
        self.count(LineKind::Removed)
    }

    /// How many of its lines are changes.
    pub fn changed(&self) -> usize {
        self.lines.iter().filter(|line| line.kind.is_change()).count()
    }

    fn count(&self, kind: LineKind) -> usize {
        self.lines.iter().filter(|line| line.kind == kind).count()
    }
}

impl Diff {
    /// Reads a diff as git and diff write it. What stands before, between and after the files is skipped.
    pub fn parse(source: impl Into<Arc<[u8]>>) -> Diff {
        let source = source.into();
        let (files, problems) = parse::parse(&source);
        Diff::assemble(source, files, problems)
    }

    fn assemble(source: Arc<[u8]>, files: Vec<FileChange>, problems: Vec<String>) -> Diff {
        let mut by_id = HashMap::new();
        for (file_index, file) in files.iter().enumerate() {
            for (hunk_index, hunk) in file.hunks.iter().enumerate() {
                by_id.insert(hunk.id.clone(), (file_index, hunk_index));
            }
        }
        Diff { source, files, problems, by_id }
    }

    /// Every file, in the order of the diff.
    pub fn files(&self) -> &[FileChange] {
        &self.files
    }

    /// What of the input could not be understood, for people.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Every hunk, in the order of the diff.
    pub fn hunks(&self) -> impl Iterator<Item = HunkRef<'_>> {
        self.files.iter().enumerate().flat_map(move |(file_index, file)| {
            (0..file.hunks.len()).map(move |hunk_index| HunkRef { diff: self, file_index, hunk_index })
        })
    }

    /// Finds a hunk by its id.
    pub fn find_hunk(&self, id: &str) -> Option<HunkRef<'_>> {
        let (file_index, hunk_index) = *self.by_id.get(&HunkId(id.to_owned()))?;
        Some(HunkRef { diff: self, file_index, hunk_index })
    }

    /// A hunk by its place, which must be one.
    pub(crate) fn hunk_at(&self, file_index: usize, hunk_index: usize) -> HunkRef<'_> {
        HunkRef { diff: self, file_index, hunk_index }
    }

    /// The hunks of one file.
    pub fn hunks_of(&self, file_index: usize) -> impl Iterator<Item = HunkRef<'_>> {
        let count = self.files.get(file_index).map_or(0, |file| file.hunks.len());
        (0..count).map(move |hunk_index| HunkRef { diff: self, file_index, hunk_index })
    }

    /// The same diff with only the hunks that `keep` picks, and the files that have one left. Ids stay as they are.
    pub fn restricted(&self, keep: impl Fn(HunkRef<'_>) -> bool) -> Diff {
        let mut files = Vec::new();
        for (file_index, file) in self.files.iter().enumerate() {
            let kept: Vec<Hunk> = self
                .hunks_of(file_index)
                .filter(|hunk| keep(*hunk))
                .map(|hunk| hunk.hunk().clone())
                .collect();
            if !kept.is_empty() {
                let mut file = FileChange { hunks: kept, ..file.without_hunks() };
                file.recount();
                files.push(file);
            }
        }
        Diff::assemble(self.source.clone(), files, Vec::new())
    }

    /// How many lines were added and removed.
    pub fn counts(&self) -> (usize, usize) {
        self.files.iter().fold((0, 0), |(added, removed), file| (added + file.added, removed + file.removed))
    }

    /// About how much memory it takes: its text, and what is known of each line, hunk and file. Short lines take more for
    /// what is known of them than for their text.
    pub fn memory_bytes(&self) -> usize {
        let of_hunk = |hunk: &Hunk| {
            size_of::<Hunk>()
                + hunk.lines.capacity() * size_of::<Line>()
                + hunk.old.capacity() * size_of::<LineRange>()
                + hunk.header.capacity()
                + hunk.digest.capacity()
                // The id is a key of the index as well.
                + 2 * hunk.id.0.capacity()
                + size_of::<(HunkId, (usize, usize))>()
        };
        let of_file = |file: &FileChange| {
            size_of::<FileChange>() + file.path.capacity() + file.hunks.iter().map(of_hunk).sum::<usize>()
        };
        self.source.len() + self.files.iter().map(of_file).sum::<usize>()
    }

    /// A digest of all hunks and their paths, in hexadecimal: equal for two diffs that change the same.
    pub fn digest(&self) -> String {
        identity::digest_of_all(self)
    }
}

impl fmt::Debug for Diff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Diff").field("files", &self.files).field("problems", &self.problems).finish()
    }
}

impl FileChange {
    fn without_hunks(&self) -> FileChange {
        FileChange {
            path: self.path.clone(),
            old_path: self.old_path.clone(),
            hunks: Vec::new(),
            ..FileChange { path: Vec::new(), old_path: None, hunks: Vec::new(), ..*self }
        }
    }

    pub(super) fn recount(&mut self) {
        self.added = self.hunks.iter().map(Hunk::added).sum();
        self.removed = self.hunks.iter().map(Hunk::removed).sum();
    }
}

/// A hunk in its diff. Cheap to copy.
#[derive(Clone, Copy)]
pub struct HunkRef<'a> {
    diff: &'a Diff,
    file_index: usize,
    hunk_index: usize,
}

impl<'a> HunkRef<'a> {
    /// The file that it belongs to.
    pub fn file(self) -> &'a FileChange {
        &self.diff.files[self.file_index]
    }

    /// The place of its file in the diff.
    pub fn file_index(self) -> usize {
        self.file_index
    }

    /// Its place in its file.
    pub fn hunk_index(self) -> usize {
        self.hunk_index
    }

    /// The hunk itself.
    pub fn hunk(self) -> &'a Hunk {
        &self.file().hunks[self.hunk_index]
    }

    /// Its id.
    pub fn id(self) -> &'a HunkId {
        &self.hunk().id
    }

    /// One line with its marks, without its line end.
    pub fn marked(self, line: &'a Line) -> &'a [u8] {
        &self.diff.source[line.place.clone()]
    }

    /// One line without its marks.
    pub fn content(self, line: &'a Line) -> &'a [u8] {
        let whole = self.marked(line);
        &whole[line.marks.min(whole.len())..]
    }

    /// Consecutive lines with their marks as text, with U+FFFD for what is not UTF-8.
    pub fn text(self, lines: Range<usize>) -> String {
        let mut text = String::new();
        for line in self.hunk().lines.get(lines).unwrap_or_default() {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&String::from_utf8_lossy(self.marked(line)));
            if line.has_no_newline {
                text.push_str("\n\\ No newline at end of file");
            }
        }
        text
    }

    /// How many bytes its lines have.
    pub fn bytes(self) -> usize {
        self.hunk().lines.iter().map(|line| line.place.len() + 1).sum()
    }

    /// Each line with its number before and after. In a merge's hunk the numbers before are those of the first parent.
    pub fn numbered(self) -> impl Iterator<Item = NumberedLine<'a>> {
        let hunk = self.hunk();
        let mut old = hunk.old.first().map_or(0, |range| range.start);
        let mut new = hunk.new.map_or(0, |range| range.start);
        hunk.lines.iter().enumerate().map(move |(index, line)| {
            let mark = self.marked(line).first().copied();
            let is_in_old = match line.kind {
                LineKind::Note => false,
                // With several parents, the first column tells of the first one.
                LineKind::Added => line.marks > 1 && mark == Some(b' '),
                LineKind::Removed => line.marks == 1 || mark == Some(b'-'),
                LineKind::Context => true,
            };
            let is_in_new = matches!(line.kind, LineKind::Context | LineKind::Added);
            let numbered =
                NumberedLine { index, line, old: is_in_old.then_some(old), new: is_in_new.then_some(new) };
            old += u64::from(is_in_old);
            new += u64::from(is_in_new);
            numbered
        })
    }
}

/// One line of a hunk with its numbers.
#[derive(Clone, Copy, Debug)]
pub struct NumberedLine<'a> {
    /// Its place in the hunk, from 0.
    pub index: usize,
    /// The line.
    pub line: &'a Line,
    /// Its number before.
    pub old: Option<u64>,
    /// Its number after.
    pub new: Option<u64>,
}
