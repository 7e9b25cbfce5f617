//! Prints the log while it grows.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::contract::{LOG_NAME, RESULT_NAME};

const LOOK_EVERY: Duration = Duration::from_millis(20);
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
            offset = print_from(file, offset)?;
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
    printing: JoinHandle<()>,
}

impl Tee {
    pub(crate) fn start(log: File) -> Tee {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let printing = thread::spawn(move || {
            let mut offset = 0;
            loop {
                let is_last = told.load(Ordering::Acquire);
                // Whoever read our output is gone: the log on disk goes on without.
                let Ok(next) = print_from(&log, offset) else { return };
                offset = next;
                if is_last {
                    return;
                }
                thread::park_timeout(LOOK_EVERY);
            }
        });
        Tee { is_over, printing }
    }

    /// Prints what is left. The log must not grow any more.
    pub(crate) fn finish(self) {
        self.is_over.store(true, Ordering::Release);
        self.printing.thread().unpark();
        let _ = self.printing.join();
    }
}

fn print_from(file: &File, mut offset: u64) -> io::Result<u64> {
    let mut stdout = io::stdout().lock();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read_at(&mut buffer, offset)? {
            0 => {
                stdout.flush()?;
                return Ok(offset);
            }
            count => {
                stdout.write_all(&buffer[..count])?;
                offset += count as u64;
            }
        }
    }
}
