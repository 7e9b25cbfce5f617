//! Carries the command's output from a pipe into the log.
//!
//! The command gets a pipe and not the log itself: `echo x > /dev/stderr` opens its output anew and would cut a file
//! to nothing.
//!
//! Invariants: whoever holds the pipe open when the command has ended cannot delay the end; a command that prints without
//! end fills no disk, and is not held up either: what there is no room for is read all the same.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

const CHUNK_BYTES: usize = 64 * 1024;
/// How long the pipe may stay open without a byte once everything was ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// The thread that carries.
pub(crate) struct Pump {
    carried_chunks: Arc<AtomicU64>,
    end: Receiver<io::Result<Option<String>>>,
}

impl Pump {
    pub(crate) fn start(mut pipe: PipeReader, mut log: File, bytes_max: u64) -> Pump {
        let carried_chunks = Arc::new(AtomicU64::new(0));
        let (sender, end) = mpsc::channel();
        let count = Arc::clone(&carried_chunks);
        thread::spawn(move || {
            let mut carry = || {
                let mut buffer = vec![0; CHUNK_BYTES];
                let (mut room, mut cut) = (bytes_max, None);
                loop {
                    match pipe.read(&mut buffer) {
                        Ok(0) => return Ok(cut),
                        Ok(read) => {
                            let kept = read.min(usize::try_from(room).unwrap_or(usize::MAX));
                            log.write_all(&buffer[..kept])?;
                            room -= kept as u64;
                            if kept < read && cut.is_none() {
                                let words =
                                    format!("guest.log is full at {bytes_max} bytes; the rest was left out");
                                log.write_all(format!("\n[pikaci-incus-run: {words}]\n").as_bytes())?;
                                cut = Some(words);
                            }
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) => return Err(error),
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            };
            // Nobody listens when the end was given up.
            let _ = sender.send(carry());
        });
        Pump { carried_chunks, end }
    }

    /// Waits until all that was printed is in the log, as far as there is room. Called when everything that the command
    /// started was ended. Returns what the log lacks.
    pub(crate) fn finish(self) -> io::Result<Option<String>> {
        let mut last_count = self.carried_chunks.load(Ordering::Relaxed);
        loop {
            match self.end.recv_timeout(PATIENCE) {
                Ok(end) => return end,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    let count = self.carried_chunks.load(Ordering::Relaxed);
                    if count == last_count {
                        return Ok(None);
                    }
                    last_count = count;
                }
            }
        }
    }
}
