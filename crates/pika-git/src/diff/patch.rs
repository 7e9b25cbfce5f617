//! Reads git's patch format, line by line, into the files that the lists before it named.
//!
//! Invariant: memory is bounded by the limits, however long a line or a file is.

use std::io;

use super::{DiffLimits, DiffLine, FileDiff, Hunk, LineKind};
use crate::history::ChangeStatus;
use crate::process::{Answer, Field, read_field};

/// Room for the sign before a line's text, and for headers when the limit for lines is tiny.
const HEADER_BYTES_MIN: usize = 512;

/// Reads the patch into `files`, which are in the same order. Returns whether it was read to its end; it is not when
/// the limits are used up.
pub(super) async fn read(answer: Answer<'_>, files: &mut [FileDiff], limits: DiffLimits) -> io::Result<bool> {
    let bytes_max = limits.line_bytes_max.saturating_add(1).max(HEADER_BYTES_MIN);
    let mut reader = PatchReader::new(files, limits);
    while let Some(line) = read_field(answer, b'\n', bytes_max).await? {
        reader.take(&line);
        if reader.is_used_up() {
            reader.cut_the_rest();
            return Ok(false);
        }
    }
    Ok(true)
}

struct PatchReader<'a> {
    files: &'a mut [FileDiff],
    limits: DiffLimits,
    /// Which file is being read; `None` before the first.
    current: Option<usize>,
    /// How many headers that file has had. A file that became a link has two: one for what went, one for what came.
    headers: usize,
    file_lines: usize,
    lines: usize,
    bytes: usize,
    /// How many lines of the hunk are still to come, before and after.
    old_left: u64,
    new_left: u64,
}

impl PatchReader<'_> {
    fn new(files: &mut [FileDiff], limits: DiffLimits) -> PatchReader<'_> {
        PatchReader {
            files,
            limits,
            current: None,
            headers: 0,
            file_lines: 0,
            lines: 0,
            bytes: 0,
            old_left: 0,
            new_left: 0,
        }
    }

    fn take(&mut self, line: &Field) {
        let is_in_hunk = self.old_left > 0 || self.new_left > 0;
        match line.bytes.first() {
            Some(b'\\') => self.mark_missing_newline(),
            Some(b' ') if is_in_hunk => self.take_line(LineKind::Context, line),
            Some(b'+') if is_in_hunk => self.take_line(LineKind::Added, line),
            Some(b'-') if is_in_hunk => self.take_line(LineKind::Removed, line),
            Some(b'@') => self.begin_hunk(line),
            _ if line.bytes.starts_with(b"diff --git ") => self.begin_file(),
            // Modes, ids and similarity: the lists before the patch have told them.
            _ => {}
        }
    }

    fn begin_file(&mut self) {
        let expects_another = self.current.is_some_and(|current| {
            self.files[current].status == ChangeStatus::TypeChanged && self.headers == 1
        });
        if expects_another {
            self.headers = 2;
        } else {
            self.current = Some(self.current.map_or(0, |current| current + 1));
            self.headers = 1;
            self.file_lines = 0;
        }
        (self.old_left, self.new_left) = (0, 0);
    }

    fn begin_hunk(&mut self, line: &Field) {
        let header = String::from_utf8_lossy(&line.bytes).into_owned();
        let Some((old, new)) = parse_ranges(&header) else { return };
        (self.old_left, self.new_left) = (old.1, new.1);
        let is_full = self.file_lines >= self.limits.file_lines_max;
        let Some(file) = self.file() else { return };
        if is_full {
            file.is_cut = true;
            return;
        }
        let (old_start, old_lines) = old;
        let (new_start, new_lines) = new;
        file.hunks.push(Hunk { header, old_start, old_lines, new_start, new_lines, lines: Vec::new() });
    }

    fn take_line(&mut self, kind: LineKind, line: &Field) {
        let (old_left, new_left) = (self.old_left, self.new_left);
        if kind != LineKind::Added {
            self.old_left = old_left.saturating_sub(1);
        }
        if kind != LineKind::Removed {
            self.new_left = new_left.saturating_sub(1);
        }
        let text = &line.bytes[1..line.bytes.len().min(self.limits.line_bytes_max + 1)];
        let is_cut = line.is_cut || text.len() + 1 < line.bytes.len();
        let is_full = self.file_lines >= self.limits.file_lines_max;
        let Some(file) = self.file() else { return };
        file.is_cut |= is_cut || is_full;
        let Some(hunk) = file.hunks.last_mut() else { return };
        if is_full {
            return;
        }
        let number = |start: u64, lines: u64, left: u64| start + lines.saturating_sub(left);
        let old_no = number(hunk.old_start, hunk.old_lines, old_left);
        let new_no = number(hunk.new_start, hunk.new_lines, new_left);
        hunk.lines.push(DiffLine {
            kind,
            old_no: (kind != LineKind::Added).then_some(old_no),
            new_no: (kind != LineKind::Removed).then_some(new_no),
            text: String::from_utf8_lossy(text).into_owned(),
            has_no_newline: false,
        });
        self.file_lines += 1;
        self.lines += 1;
        self.bytes += text.len();
    }

    /// `\ No newline at end of file`, which git writes after the line that it is about.
    fn mark_missing_newline(&mut self) {
        let is_full = self.file_lines >= self.limits.file_lines_max;
        let Some(file) = self.file() else { return };
        // The line itself may have been left out.
        if is_full && file.is_cut {
            return;
        }
        if let Some(line) = file.hunks.last_mut().and_then(|hunk| hunk.lines.last_mut()) {
            line.has_no_newline = true;
        }
    }

    fn file(&mut self) -> Option<&mut FileDiff> {
        self.files.get_mut(self.current?)
    }

    fn is_used_up(&self) -> bool {
        self.lines >= self.limits.lines_max || self.bytes >= self.limits.bytes_max
    }

    /// Flags the files that have lines which were not read.
    fn cut_the_rest(&mut self) {
        let first = self.current.unwrap_or(0);
        for file in self.files.iter_mut().skip(first) {
            let count = |kind| {
                file.hunks.iter().flat_map(|hunk| &hunk.lines).filter(|line| line.kind == kind).count()
            };
            let is_whole = count(LineKind::Added) as u64 == file.added
                && count(LineKind::Removed) as u64 == file.removed
                && file.hunks.last().is_none_or(hunk_is_whole);
            file.is_cut |= !is_whole;
        }
    }
}

fn hunk_is_whole(hunk: &Hunk) -> bool {
    let old = hunk.lines.iter().filter(|line| line.kind != LineKind::Added).count() as u64;
    let new = hunk.lines.iter().filter(|line| line.kind != LineKind::Removed).count() as u64;
    (old, new) == (hunk.old_lines, hunk.new_lines)
}

type Range = (u64, u64);

/// Reads `@@ -start,lines +start,lines @@`, where `,lines` may be missing and means one.
fn parse_ranges(header: &str) -> Option<(Range, Range)> {
    let (ranges, _) = header.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    Some((parse_range(old)?, parse_range(new)?))
}

fn parse_range(text: &str) -> Option<Range> {
    match text.split_once(',') {
        Some((start, lines)) => Some((start.parse().ok()?, lines.parse().ok()?)),
        None => Some((text.parse().ok()?, 1)),
    }
}
