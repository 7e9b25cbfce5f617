//! What is printed.
//!
//! Invariant: a reader that went away ends nothing. Whatever comes from a guest or a record is shown without control
//! characters, except for logs, which are printed as they are.

mod progress;
mod reporter;
mod table;
mod words;

use std::io::{self, Write as _};

use serde_json::Value;

pub(crate) use reporter::Reporter;
pub(crate) use table::Table;
pub(crate) use words::{duration, elapsed, job_state, phase_heading, plain, run_state, size};

/// Prints text and a line end to standard output.
pub(crate) fn print_line(text: &str) {
    let _ = print_bytes(format!("{text}\n").as_bytes());
}

/// Prints one JSON document, indented for people.
pub(crate) fn print_json(value: &Value) {
    print_line(&format!("{value:#}"));
}

/// Prints bytes at once. Says when nobody reads them any more.
pub(crate) fn print_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}
