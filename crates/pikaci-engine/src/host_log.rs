//! `host.log`: what an executor did, a line each, with the time.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;

use jiff::Timestamp;

/// An open `host.log`.
#[derive(Debug)]
pub struct HostLog {
    file: File,
}

impl HostLog {
    /// Opens the log, making it when it is not there.
    pub fn open(path: &Path) -> io::Result<HostLog> {
        OpenOptions::new().append(true).create(true).open(path).map(|file| HostLog { file })
    }

    /// Appends a line. Best effort: a full disk must not decide a job.
    pub fn line(&self, text: impl Display) {
        let line = format!("{:.3} {text}\n", Timestamp::now());
        let _ = (&self.file).write_all(line.as_bytes());
    }

    /// Another handle of the same log.
    pub(crate) fn again(&self) -> io::Result<HostLog> {
        self.file.try_clone().map(|file| HostLog { file })
    }

    /// A handle that a child process may append to.
    pub fn stdio(&self) -> io::Result<Stdio> {
        self.file.try_clone().map(Stdio::from)
    }
}
