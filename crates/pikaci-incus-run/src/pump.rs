//! Carries the command's output from a pipe into the log.
//!
//! The command gets a pipe and not the log itself: `echo x > /dev/stderr` opens its output anew and would cut a file
//! to nothing.
//!
//! Invariants: whoever holds the pipe open when the command has ended cannot delay the end; a command that prints without
//! end fills no disk, and is not held up either: what there is no room for is read all the same.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::mask::Masker;

const CHUNK_BYTES: usize = 64 * 1024;
/// How long the pipe may stay open without a byte once everything was ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// The thread that carries.
pub(crate) struct Pump {
    sink: Arc<Mutex<Sink>>,
    carried_chunks: Arc<AtomicU64>,
    end: Receiver<io::Result<()>>,
}

/// The log's side.
struct Sink {
    log: File,
    masker: Masker,
    bytes_max: u64,
    room: u64,
    cut: Option<String>,
}

impl Sink {
    /// Takes what was printed.
    fn take(&mut self, printed: &[u8]) -> io::Result<()> {
        let decided = self.masker.push(printed);
        self.keep(&decided)
    }

    /// Nothing follows. Returns what the log lacks.
    fn finish(&mut self) -> io::Result<Option<String>> {
        let rest = self.masker.finish();
        self.keep(&rest)?;
        Ok(self.cut.take())
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let kept = bytes.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
        self.log.write_all(&bytes[..kept])?;
        self.room -= kept as u64;
        if kept < bytes.len() && self.cut.is_none() {
            let words = format!("guest.log is full at {} bytes; the rest was left out", self.bytes_max);
            self.log.write_all(format!("\n[pikaci-incus-run: {words}]\n").as_bytes())?;
            self.cut = Some(words);
        }
        Ok(())
    }
}

impl Pump {
    pub(crate) fn start(mut pipe: PipeReader, log: File, masker: Masker, bytes_max: u64) -> Pump {
        let sink = Arc::new(Mutex::new(Sink { log, masker, bytes_max, room: bytes_max, cut: None }));
        let carried_chunks = Arc::new(AtomicU64::new(0));
        let (sender, end) = mpsc::channel();
        let (count, to) = (Arc::clone(&carried_chunks), Arc::clone(&sink));
        thread::spawn(move || {
            let mut carry = || {
                let mut buffer = vec![0; CHUNK_BYTES];
                loop {
                    match pipe.read(&mut buffer) {
                        Ok(0) => return Ok(()),
                        Ok(read) => lock(&to).take(&buffer[..read])?,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) => return Err(error),
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            };
            // Nobody listens when the end was given up.
            let _ = sender.send(carry());
        });
        Pump { sink, carried_chunks, end }
    }

    /// Waits until all that was printed is in the log, as far as there is room. Called when everything that the command
    /// started was ended. Returns what the log lacks.
    pub(crate) fn finish(self) -> io::Result<Option<String>> {
        let mut last_count = self.carried_chunks.load(Ordering::Relaxed);
        loop {
            match self.end.recv_timeout(PATIENCE) {
                Ok(end) => {
                    end?;
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let count = self.carried_chunks.load(Ordering::Relaxed);
                    if count == last_count {
                        break;
                    }
                    last_count = count;
                }
            }
        }
        lock(&self.sink).finish()
    }
}

fn lock(sink: &Mutex<Sink>) -> MutexGuard<'_, Sink> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}
