//! `events.jsonl`: one event a line, appended.
//!
//! Invariant: a line is an event or the torn end of a write that a crash cut short; a torn end is dropped.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};

use crate::event::Event;

/// The longest line that is read. A run's record with 500 jobs has about 1 MB.
const LINE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The events of a file, and how many bytes hold whole lines.
pub(super) struct Events {
    pub(super) events: Vec<Event>,
    pub(super) whole_bytes: u64,
}

/// Reads every whole line. A line that is no event of any version is an error; one of a newer version is not.
pub(super) fn read(file: File) -> io::Result<Events> {
    let mut reader = BufReader::new(file);
    let mut events = Vec::new();
    let mut whole_bytes = 0;
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(Events { events, whole_bytes });
        }
        events.push(serde_json::from_slice(&line).map_err(io::Error::from)?);
        whole_bytes += read as u64;
    }
}

/// Appends one event as one write.
pub(super) fn append(file: &mut File, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// Drops a torn end and makes the next append begin on a line of its own.
pub(super) fn cut_torn_end(file: &mut File, whole_bytes: u64) -> io::Result<()> {
    file.set_len(whole_bytes)?;
    file.seek(SeekFrom::Start(whole_bytes))?;
    Ok(())
}
