//! Picks the lines of a log that a person would look for: its end, and what looks like an error.
//!
//! Invariant: only display. A test may print "error" and pass; nothing that is decided here reaches a record.

use std::collections::{BTreeSet, VecDeque};

use super::{LogExcerpt, LogLine};
use crate::escapes::plain_line;
use crate::id::{JobId, RunId};
use crate::store::{LogSide, StateRoot, StoreError, guest_log_path, host_log_path, read_log_range};

/// How much of a log is looked at from its end; and from its beginning, when the end says nothing.
const WINDOW_BYTES: u64 = 256 * 1024;
/// The most lines that are picked.
const LINES_MAX: usize = 40;
/// How many of them are the last ones of the log.
const LAST_LINES: usize = 12;
/// The most bytes of text that are picked.
const TEXT_BYTES_MAX: usize = 8 * 1024;
/// The most bytes of one line that are shown.
const LINE_BYTES_MAX: usize = 512;
/// Lines shown around one that looks like an error: compilers and test programs say more below it.
const CONTEXT_BEFORE: usize = 1;
const CONTEXT_AFTER: usize = 3;

/// Picks the lines of a log that matter; `None` when there is no such log or nothing in it.
pub(super) fn excerpt(
    state: &StateRoot,
    run: &RunId,
    job: &JobId,
    side: LogSide,
) -> Result<Option<LogExcerpt>, StoreError> {
    let Some(look) = read_log_range(state, run, job, side, 0, 0)? else { return Ok(None) };
    let total_bytes = look.total_bytes;
    let window = |offset: u64| -> Result<Vec<Line>, StoreError> {
        let range = read_log_range(state, run, job, side, offset, WINDOW_BYTES)?;
        Ok(range.map(|range| split(range.offset, &range.bytes)).unwrap_or_default())
    };
    let tail_offset = total_bytes.saturating_sub(WINDOW_BYTES);
    let mut lines = window(tail_offset)?;
    if tail_offset > 0 && !lines.iter().any(|line| line.weight == Weight::Error) {
        let mut both = window(0)?;
        both.retain(|line| line.has_end && line.offset + line.bytes <= tail_offset);
        both.append(&mut lines);
        lines = both;
    }
    let picked = pick(&lines);
    let lines: Vec<LogLine> = lines
        .into_iter()
        .enumerate()
        .filter(|(at, _)| picked.contains(at))
        .map(|(_, Line { offset, bytes, text, is_cut, .. })| LogLine { offset, bytes, text, is_cut })
        .collect();
    let path = match side {
        LogSide::Host => host_log_path(job),
        LogSide::Guest => guest_log_path(job),
    };
    Ok((!lines.is_empty()).then_some(LogExcerpt { path, total_bytes, lines }))
}

/// How much a line looks like what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Error,
    Hint,
    Plain,
    Blank,
}

struct Line {
    offset: u64,
    bytes: u64,
    text: String,
    is_cut: bool,
    has_end: bool,
    weight: Weight,
}

/// Splits part of a log into lines. A line whose beginning lies before the part is left out, unless it is all there is.
fn split(offset: u64, bytes: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut start = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(newline) if offset > 0 && newline + 1 < bytes.len() => newline + 1,
        _ => 0,
    };
    let begins_within_a_line = offset > 0 && start == 0;
    while start < bytes.len() {
        let newline = bytes[start..].iter().position(|byte| *byte == b'\n');
        let end = newline.map_or(bytes.len(), |length| start + length + 1);
        let whole = plain_line(&String::from_utf8_lossy(&bytes[start..end]));
        let keeps_end = begins_within_a_line && start == 0;
        let text = shorten(&whole, keeps_end);
        lines.push(Line {
            offset: offset + start as u64,
            bytes: (end - start) as u64,
            is_cut: keeps_end || text.len() < whole.len(),
            has_end: newline.is_some(),
            weight: weigh(&text),
            text,
        });
        start = end;
    }
    lines
}

/// Cuts a line to what can be shown of it: its beginning, or its end.
fn shorten(text: &str, keeps_end: bool) -> String {
    if text.len() <= LINE_BYTES_MAX {
        return text.to_owned();
    }
    if keeps_end {
        let mut start = text.len() - LINE_BYTES_MAX;
        while !text.is_char_boundary(start) {
            start += 1;
        }
        text[start..].to_owned()
    } else {
        let mut end = LINE_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    }
}

/// Judges by the words that compilers and test programs use.
fn weigh(text: &str) -> Weight {
    const FINE: [&str; 6] = ["... ok", "test result: ok", " PASSED", "0 errors", "error: 0", "errors: 0"];
    const BEGINS: [&str; 12] = [
        "error:",
        "error[",
        "fatal:",
        "panic:",
        "FAIL",
        "FAILED",
        "E   ",
        "Traceback ",
        "not ok ",
        "✗ ",
        "✕ ",
        "× ",
    ];
    const HOLDS: [&str; 13] = [
        " panicked at ",
        ": error:",
        ": error ",
        ": fatal error:",
        "Error: ",
        "Exception: ",
        " FAILED",
        "--- FAIL",
        "npm ERR!",
        "undefined reference",
        "Segmentation fault",
        ": not found",
        "] Error ",
    ];
    const HINTS: [&str; 12] = [
        "error",
        "fail",
        "panic",
        "exception",
        "cannot",
        "can't",
        "no such file",
        "denied",
        "killed",
        "timed out",
        "abort",
        "refused",
    ];
    let text = text.trim();
    if text.is_empty() {
        return Weight::Blank;
    }
    if FINE.iter().any(|word| text.contains(word)) {
        return Weight::Plain;
    }
    if BEGINS.iter().any(|word| text.starts_with(word)) || HOLDS.iter().any(|word| text.contains(word)) {
        return Weight::Error;
    }
    let lower = text.to_ascii_lowercase();
    if HINTS.iter().any(|word| lower.contains(word)) { Weight::Hint } else { Weight::Plain }
}

/// Picks lines within the bounds: the last ones, then those around errors, then those around hints. Of many errors
/// the first and the last in turn: compilers begin with the cause, test programs end with it.
fn pick(lines: &[Line]) -> BTreeSet<usize> {
    let mut picked = Picked { lines, chosen: BTreeSet::new(), text_bytes: 0 };
    let last = lines.iter().rposition(|line| line.weight != Weight::Blank);
    let Some(last) = last else { return picked.chosen };
    for at in (0..=last).rev().take(LAST_LINES) {
        picked.add(at, LAST_LINES);
    }
    for weight in [Weight::Error, Weight::Hint] {
        let mut open: VecDeque<usize> = (0..=last).filter(|at| lines[*at].weight == weight).collect();
        let mut takes_first = true;
        while let Some(at) = if takes_first { open.pop_front() } else { open.pop_back() } {
            takes_first = !takes_first;
            // The line itself before its surroundings: these may not fit any more.
            picked.add(at, LINES_MAX);
            for near in at.saturating_sub(CONTEXT_BEFORE)..=(at + CONTEXT_AFTER).min(last) {
                picked.add(near, LINES_MAX);
            }
            if picked.chosen.len() >= LINES_MAX {
                return picked.chosen;
            }
        }
    }
    picked.chosen
}

struct Picked<'l> {
    lines: &'l [Line],
    chosen: BTreeSet<usize>,
    text_bytes: usize,
}

impl Picked<'_> {
    fn add(&mut self, at: usize, lines_max: usize) {
        let text_bytes = self.text_bytes + self.lines[at].text.len();
        if self.chosen.len() < lines_max && text_bytes <= TEXT_BYTES_MAX && self.chosen.insert(at) {
            self.text_bytes = text_bytes;
        }
    }
}
