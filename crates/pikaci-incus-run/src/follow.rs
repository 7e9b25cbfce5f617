//! Prints the log while it grows.
//!
//! Invariant: every byte from the offset on is printed once, in order, whatever bytes they are.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::contract::{LOG_NAME, RESULT_NAME};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a reader may take nothing before it is given up.
const READER_PATIENCE: Duration = Duration::from_secs(30);
const CHUNK_BYTES: usize = 64 * 1024;

/// Prints the log from a byte offset, until the result is there and all of the log was printed.
pub(crate) fn follow(artifacts: &Path, mut offset: u64) -> io::Result<()> {
    let (log, result) = (artifacts.join(LOG_NAME), artifacts.join(RESULT_NAME));
    let mut file = None;
    loop {
        // Looked at before the log: what the log has now is all, if the result was there.
        let is_over = fs::symlink_metadata(&result).is_ok();
        if file.is_none() {
            file = match File::open(&log) {
                Ok(opened) => Some(opened),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        if let Some(file) = &file {
            offset = print_from(file, offset, &AtomicU64::new(0))?;
        }
        if is_over {
            return Ok(());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Prints a command's log beside the command.
pub(crate) struct Tee {
    is_over: Arc<AtomicBool>,
    printed_bytes: Arc<AtomicU64>,
    printing: JoinHandle<()>,
}

impl Tee {
    pub(crate) fn start(log: File) -> Tee {
        let (is_over, printed_bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&is_over), Arc::clone(&printed_bytes));
        let printing = thread::spawn(move || {
            let mut offset = 0;
            loop {
                let is_last = told.load(Ordering::Acquire);
                // Whoever read our output is gone: the log on disk goes on without.
                let Ok(next) = print_from(&log, offset, &count) else { return };
                offset = next;
                if is_last {
                    return;
                }
                thread::park_timeout(LOOK_EVERY);
            }
        });
        Tee { is_over, printed_bytes, printing }
    }

    /// Prints what is left, unless whoever reads it has stopped reading. The log must not grow any more.
    pub(crate) fn finish(self) {
        self.is_over.store(true, Ordering::Release);
        self.printing.thread().unpark();
        let (mut last_count, mut last_progress) = (0, Instant::now());
        while !self.printing.is_finished() && last_progress.elapsed() < READER_PATIENCE {
            let count = self.printed_bytes.load(Ordering::Relaxed);
            if count != last_count {
                (last_count, last_progress) = (count, Instant::now());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn print_from(file: &File, mut offset: u64, printed_bytes: &AtomicU64) -> io::Result<u64> {
    // Not through the line buffer of `Stdout`: these are bytes, and many.
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read_at(&mut buffer, offset)? {
            0 => return Ok(offset),
            count => {
                stdout.write_all(&buffer[..count])?;
                offset += count as u64;
                printed_bytes.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    }
}
