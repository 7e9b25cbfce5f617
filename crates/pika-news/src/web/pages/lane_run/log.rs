//! The part of a log that a page shows.
//!
//! Invariant: it is bounded, whatever the log's length; the rest is a link away.

use pikaci::{JobId, LogSide, RunId, RunRecord, RunStatus, StateRoot, StoreError};

use crate::web::ansi;
use crate::web::live::current_attempt;

/// How much of a log a page shows.
const SHOWN_BYTES_MAX: u64 = 256 * 1024;
/// How far a line's beginning is looked for, so that a page does not begin in the middle of one.
const LINE_BYTES_SEARCHED: usize = 8 * 1024;

/// Which part of which log is wanted; without a job the one that matters most, without `before` the end.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) job: Option<JobId>,
    pub(super) side: LogSide,
    pub(super) before: Option<u64>,
}

/// A part of a log, ready for the page.
#[derive(Clone, Debug)]
pub(super) struct LogSection {
    pub(super) job: JobId,
    pub(super) kind: &'static str,
    pub(super) html: String,
    /// Where the part begins.
    pub(super) start: u64,
    /// How long the log is.
    pub(super) total: u64,
    /// Whether it will not grow.
    pub(super) is_over: bool,
    /// Whether it is a part before the end.
    pub(super) is_window: bool,
    pub(super) raw: String,
    /// Where the rest comes from, live.
    pub(super) stream: Option<String>,
}

impl LogSection {
    /// Reads the part; `None` while the run has no job.
    pub(super) fn read(
        state: &StateRoot,
        record: &RunRecord,
        window: &Window,
    ) -> Result<Option<LogSection>, StoreError> {
        let run = &record.run_id;
        let job = match &window.job {
            Some(job) => Some(job.clone()),
            None => shown_job(record),
        };
        let Some(job) = job else { return Ok(None) };
        // Asked before the log is read: what is written in between is the stream's to tell.
        let is_over = record.status != RunStatus::Running
            || record.find_job(&job).is_some_and(|job| job.finished_at.is_some());
        let part = Part::read(state, run, &job, window)?;
        let kind = match window.side {
            LogSide::Host => "host",
            LogSide::Guest => "guest",
        };
        let is_window = part.end < part.total && window.before.is_some();
        let base = format!("/news/api/forge/pikaci/logs/{run}");
        let attempt = current_attempt(record, &job);
        let stream = (!is_over && !is_window)
            .then(|| format!("{base}/stream?job={job}&kind={kind}&from={}&attempt={attempt}", part.end));
        Ok(Some(LogSection {
            raw: format!("{base}/raw?job={job}&kind={kind}"),
            kind,
            html: ansi::to_html(&String::from_utf8_lossy(&part.bytes)),
            start: part.start,
            total: part.total,
            is_over,
            is_window,
            stream,
            job,
        }))
    }
}

/// The job whose log a reader wants first: one that failed, else one that runs, else the first.
fn shown_job(record: &RunRecord) -> Option<JobId> {
    let default = pikaci::store::default_job(record)?;
    let is_running = |job: &&pikaci::JobRecord| job.finished_at.is_none();
    let running = record.jobs.iter().find(is_running).filter(|_| default.status != pikaci::JobStatus::Failed);
    Some(running.unwrap_or(default).id.clone())
}

struct Part {
    bytes: Vec<u8>,
    start: u64,
    end: u64,
    total: u64,
}

impl Part {
    fn read(state: &StateRoot, run: &RunId, job: &JobId, window: &Window) -> Result<Part, StoreError> {
        let length =
            |offset, bytes| pikaci::store::read_log_range(state, run, job, window.side, offset, bytes);
        let total = length(0, 0)?.map_or(0, |range| range.total_bytes);
        let end = window.before.unwrap_or(total).min(total);
        let start = end.saturating_sub(SHOWN_BYTES_MAX);
        let mut bytes = length(start, end - start)?.map(|range| range.bytes).unwrap_or_default();
        let skipped = if start == 0 { 0 } else { line_start(&bytes) };
        bytes.drain(..skipped);
        if end == total {
            // A character that is not whole yet is the stream's to tell.
            bytes.truncate(bytes.len() - incomplete(&bytes));
        }
        let start = start + skipped as u64;
        Ok(Part { end: start + bytes.len() as u64, bytes, start, total })
    }
}

/// How many bytes to skip to begin at a line, or, in a very long line, at a character.
fn line_start(bytes: &[u8]) -> usize {
    let searched = &bytes[..bytes.len().min(LINE_BYTES_SEARCHED)];
    match searched.iter().position(|byte| *byte == b'\n') {
        Some(position) => position + 1,
        None => bytes.iter().take(3).take_while(|byte| (0x80..0xc0).contains(*byte)).count(),
    }
}

/// How many bytes at the end are the beginning of a character.
fn incomplete(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    (0..tail.len())
        .find(|start| {
            std::str::from_utf8(&tail[*start..])
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .map_or(0, |start| tail.len() - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_begins_at_a_line_or_else_at_a_character() {
        assert_eq!(line_start(b"rest of a line\nnext"), 15);
        assert_eq!(line_start(&[0xa9, b'a', b'b']), 1);
        assert_eq!(line_start(&"é".repeat(LINE_BYTES_SEARCHED).into_bytes()), 0);
    }

    #[test]
    fn the_beginning_of_a_character_is_left_to_the_stream() {
        assert_eq!(incomplete(b"ab\xc3"), 1);
        assert_eq!(incomplete(b"\xf0\x9f\x98"), 3);
        assert_eq!(incomplete("é".as_bytes()), 0);
        assert_eq!(incomplete(b"a\xff"), 0);
        assert_eq!(incomplete(b""), 0);
    }
}
