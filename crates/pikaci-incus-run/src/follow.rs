//! Prints the log while it grows.
//!
//! Invariants: every byte from the offset on is printed once, in order, whatever bytes they are; a follower only watches,
//! and whatever becomes of it is nothing to the job; it ends soon after the runner does, also where the command, whose log
//! it is, has made that longer than any disk.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::contract::{LOG_NAME, RESULT_NAME};
use crate::guest_log::{LOG_MARGIN_BYTES, open_plain};
use crate::report::{GuestReport, WrittenReport};
use crate::run_folder::{RunFolder, RunFolderError, Runner, State};

/// Between two looks at a log that grows, and at one that has been still for long.
const LOOK_EVERY: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];
const TEE_LOOKS_EVERY: Duration = Duration::from_millis(20);
/// How long a follower waits for a job that nobody has started yet.
const START_PATIENCE: Duration = Duration::from_millis(500);
/// How long a reader may take nothing before it is given up.
const READER_PATIENCE: Duration = Duration::from_secs(30);
const CHUNK_BYTES: usize = 256 * 1024;

/// What a follower shows.
pub(crate) struct Following<'a> {
    pub(crate) run_folder: &'a Path,
    pub(crate) artifacts: &'a Path,
    /// The first byte of the log to print; `None` prints nothing of it.
    pub(crate) offset: Option<u64>,
    /// How long the log may be.
    pub(crate) log_bytes_max: u64,
}

/// Why a follower has no result to hand over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("no job was started in this guest: {} says nothing of one", run_folder.display())]
    NotStarted { run_folder: PathBuf },
    #[error("{message}")]
    Refused { message: String },
    #[error("the runner is gone and left no result in {}; somebody killed it", artifacts.display())]
    Gone { artifacts: PathBuf },
    #[error("cannot understand {}", path.display())]
    Result { path: PathBuf, source: io::Error },
    #[error("cannot print {}", path.display())]
    Print { path: PathBuf, source: io::Error },
    #[error("cannot watch the runner")]
    Watch { source: io::Error },
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
}

/// The signals that a follower passes on instead of ending by them. They count from here on, also before there is a runner.
pub(crate) struct StopSignals(Signals);

impl StopSignals {
    pub(crate) fn listen() -> Result<StopSignals, FollowError> {
        Signals::new([SIGTERM, SIGINT]).map(StopSignals).map_err(|source| FollowError::Watch { source })
    }

    fn pass_on_to(mut self, runner: &Arc<Runner>) {
        let runner = Arc::clone(runner);
        // Beside the printing, which may stand still for as long as nobody reads.
        thread::spawn(move || {
            for _ in &mut self.0 {
                let _ = runner.stop();
            }
        });
    }
}

impl Following<'_> {
    /// Prints the log until the runner has ended and all of it was printed. Returns the result.
    pub(crate) fn follow(&self, signals: StopSignals) -> Result<WrittenReport, FollowError> {
        let start = Instant::now();
        let folder = loop {
            let folder = RunFolder::open(self.run_folder)?;
            match folder.as_ref().map(RunFolder::state).transpose()? {
                Some(State::Running(runner)) => {
                    let runner = Arc::new(runner);
                    signals.pass_on_to(&runner);
                    return self.watch(&runner, folder.as_ref());
                }
                Some(State::Over) => break folder,
                // A job of an earlier boot, or one that was run without a run folder.
                None | Some(State::Unclaimed) if self.has_result() => break None,
                None | Some(State::Unclaimed) if start.elapsed() > START_PATIENCE => {
                    let run_folder = self.run_folder.to_owned();
                    return Err(FollowError::NotStarted { run_folder });
                }
                None | Some(State::Unclaimed) => thread::sleep(LOOK_EVERY[0]),
            }
        };
        self.print_rest(&mut self.log()?)?;
        self.result(folder.as_ref())
    }

    fn watch(&self, runner: &Runner, folder: Option<&RunFolder>) -> Result<WrittenReport, FollowError> {
        let mut log = self.log()?;
        let mut pause = LOOK_EVERY[0];
        while !runner.wait(pause).map_err(|source| FollowError::Watch { source })? {
            let has_grown = self.print(&mut log)?;
            pause = if has_grown { LOOK_EVERY[0] } else { (pause * 2).min(LOOK_EVERY[1]) };
        }
        self.print_rest(&mut log)?;
        self.result(folder)
    }

    fn log(&self) -> Result<Option<FollowedLog>, FollowError> {
        let Some(offset) = self.offset else { return Ok(None) };
        let path = self.artifacts.join(LOG_NAME);
        let printer = Printer::new(self.log_bytes_max);
        let log = printer.map(|printer| FollowedLog { path, file: None, offset, printer });
        log.map(Some).map_err(|source| self.print_error(source))
    }

    fn print(&self, log: &mut Option<FollowedLog>) -> Result<bool, FollowError> {
        log.as_mut().map_or(Ok(false), FollowedLog::print).map_err(|source| self.print_error(source))
    }

    /// Prints what the log has now that it grows no more.
    fn print_rest(&self, log: &mut Option<FollowedLog>) -> Result<bool, FollowError> {
        if let Some(log) = log {
            // The job may have put another file in its place, which the runner has mended.
            log.file = open_plain(&log.path).ok().flatten().or(log.file.take());
        }
        self.print(log)
    }

    fn print_error(&self, source: io::Error) -> FollowError {
        FollowError::Print { path: self.artifacts.join(LOG_NAME), source }
    }

    fn has_result(&self) -> bool {
        matches!(GuestReport::read(self.artifacts), Ok(Some(_)))
    }

    fn result(&self, folder: Option<&RunFolder>) -> Result<WrittenReport, FollowError> {
        match GuestReport::read(self.artifacts) {
            Ok(Some(report)) => Ok(report),
            Ok(None) => Err(match folder.and_then(RunFolder::refusal) {
                Some(message) => FollowError::Refused { message },
                None => FollowError::Gone { artifacts: self.artifacts.to_owned() },
            }),
            Err(source) => Err(FollowError::Result { path: self.artifacts.join(RESULT_NAME), source }),
        }
    }
}

struct FollowedLog {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
    printer: Printer,
}

impl FollowedLog {
    /// Prints what is new. Returns whether anything was.
    fn print(&mut self) -> io::Result<bool> {
        if self.file.is_none() {
            self.file = open_plain(&self.path)?;
        }
        let Some(file) = &self.file else { return Ok(false) };
        let next = self.printer.print_from(file, self.offset, &AtomicU64::new(0))?;
        let has_grown = next != self.offset;
        self.offset = next;
        Ok(has_grown)
    }
}

/// Prints a command's log beside the command.
pub(crate) struct Tee {
    is_over: Arc<AtomicBool>,
    printed_bytes: Arc<AtomicU64>,
    printing: JoinHandle<()>,
}

impl Tee {
    pub(crate) fn start(log: File, log_bytes_max: u64) -> Tee {
        let (is_over, printed_bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&is_over), Arc::clone(&printed_bytes));
        let printing = thread::spawn(move || {
            let Ok(mut printer) = Printer::new(log_bytes_max) else { return };
            let mut offset = 0;
            loop {
                let is_last = told.load(Ordering::Acquire);
                // Whoever read our output is gone: the log on disk goes on without.
                let Ok(next) = printer.print_from(&log, offset, &count) else { return };
                offset = next;
                if is_last {
                    return;
                }
                thread::park_timeout(TEE_LOOKS_EVERY);
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

struct Printer {
    stdout: File,
    buffer: Vec<u8>,
    /// Where every honest log ends.
    end: u64,
}

impl Printer {
    fn new(log_bytes_max: u64) -> io::Result<Printer> {
        // Not through the line buffer of `Stdout`: these are bytes, and many.
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let end = log_bytes_max.saturating_add(LOG_MARGIN_BYTES);
        Ok(Printer { stdout, buffer: vec![0; CHUNK_BYTES], end })
    }

    /// Prints all that the file has from the offset on. Returns where it ends.
    fn print_from(&mut self, file: &File, mut offset: u64, printed_bytes: &AtomicU64) -> io::Result<u64> {
        loop {
            let room =
                usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            match file.read_at(&mut self.buffer[..room], offset)? {
                0 => return Ok(offset),
                count => {
                    self.stdout.write_all(&self.buffer[..count])?;
                    offset += count as u64;
                    printed_bytes.fetch_add(count as u64, Ordering::Relaxed);
                }
            }
        }
    }
}
