//! Carries the command's output from a pipe into the log.
//!
//! The command gets a pipe and not the log itself: `echo x > /dev/stderr` opens its output anew and would cut a file
//! to nothing.
//!
//! Invariant: whoever holds the pipe open when the command has ended cannot delay the end.

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
    end: Receiver<io::Result<()>>,
}

impl Pump {
    pub(crate) fn start(mut pipe: PipeReader, mut log: File) -> Pump {
        let carried_chunks = Arc::new(AtomicU64::new(0));
        let (sender, end) = mpsc::channel();
        let count = Arc::clone(&carried_chunks);
        thread::spawn(move || {
            let mut carry = || {
                let mut buffer = vec![0; CHUNK_BYTES];
                loop {
                    match pipe.read(&mut buffer) {
                        Ok(0) => return Ok(()),
                        Ok(read) => log.write_all(&buffer[..read])?,
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

    /// Waits until all that was printed is in the log. Called when everything that the command started was ended.
    pub(crate) fn finish(self) -> io::Result<()> {
        let mut last_count = self.carried_chunks.load(Ordering::Relaxed);
        loop {
            match self.end.recv_timeout(PATIENCE) {
                Ok(end) => return end,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    let count = self.carried_chunks.load(Ordering::Relaxed);
                    if count == last_count {
                        return Ok(());
                    }
                    last_count = count;
                }
            }
        }
    }
}
