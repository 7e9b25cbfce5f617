//! Follows one log of one job while it is written.
//!
//! Invariants: each byte is handed out once and in order; the end is reported only after the job was seen finished and
//! the log was then read to its end; at most one piece is in memory.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use pikaci::{JobId, JobStatus, LogSide, RunId, RunRecord, RunStatus, StateRoot, StoreError};

use super::decode::decode;

/// The most that is read at once.
pub(super) const PIECE_BYTES_MAX: usize = 64 * 1024;

/// What one look brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// There was more text.
    Text { offset: u64, end: u64, text: String },
    /// Another attempt began; its log starts at 0.
    Restarted { attempt: u32 },
    /// Nothing new; look again later.
    Nothing,
    /// The job is finished and everything was handed out.
    End { status: String },
}

/// The place of a reader in a log. All its methods block.
#[derive(Debug)]
pub(super) struct Follower {
    state: StateRoot,
    run: RunId,
    job: JobId,
    side: LogSide,
    file: Option<File>,
    /// The first byte that was not handed out.
    offset: u64,
    /// The attempt that the reader has seen the beginning of, if it said so.
    attempt: Option<u32>,
    finished: Option<String>,
}

impl Follower {
    pub(super) fn new(state: StateRoot, run: RunId, job: JobId, side: LogSide) -> Follower {
        Follower { state, run, job, side, file: None, offset: 0, attempt: None, finished: None }
    }

    /// Begins at a byte, of a certain attempt if the reader knows which.
    pub(super) fn starting_at(self, offset: u64, attempt: Option<u32>) -> Follower {
        Follower { offset, attempt, ..self }
    }

    /// Looks once.
    pub(super) fn look(&mut self) -> Result<Look, StoreError> {
        if self.file.is_none()
            && let Some(restarted) = self.open()?
        {
            return Ok(restarted);
        }
        if let Some(look) = self.read()? {
            return Ok(look);
        }
        if let Some(file) = self.find_successor()? {
            // What the old attempt wrote after the last look comes first.
            if let Some(look) = self.read()? {
                return Ok(look);
            }
            let attempt = current_attempt(&pikaci::load_run_record(&self.state, &self.run)?, &self.job);
            (self.file, self.offset, self.attempt) = (Some(file), 0, Some(attempt));
            return Ok(Look::Restarted { attempt });
        }
        if let Some(status) = &self.finished {
            return Ok(Look::End { status: status.clone() });
        }
        let record = pikaci::load_run_record(&self.state, &self.run)?;
        self.finished = finished_status(&record, &self.job);
        // Finished just now: read once more, for it may have written in between.
        if self.finished.is_some() { self.look() } else { Ok(Look::Nothing) }
    }

    /// Opens the log once it is there. A reader whose offset belongs to another attempt starts again.
    fn open(&mut self) -> Result<Option<Look>, StoreError> {
        let Some(file) = pikaci::store::open_log(&self.state, &self.run, &self.job, self.side, None)? else {
            return Ok(None);
        };
        let length = file.metadata().map_err(|source| self.io(source))?.len();
        self.file = Some(file);
        if self.offset == 0 {
            return Ok(None);
        }
        let record = pikaci::load_run_record(&self.state, &self.run)?;
        let attempt = current_attempt(&record, &self.job);
        if self.offset > length || self.attempt.is_some_and(|seen| seen != attempt) {
            (self.offset, self.attempt) = (0, Some(attempt));
            return Ok(Some(Look::Restarted { attempt }));
        }
        Ok(None)
    }

    fn read(&mut self) -> Result<Option<Look>, StoreError> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.take(PIECE_BYTES_MAX as u64).read_to_end(&mut bytes));
        let written_at = file.metadata().and_then(|found| found.modified()).ok();
        read.map_err(|source| self.io(source))?;
        let is_at_end = bytes.len() < PIECE_BYTES_MAX;
        let (text, used) = decode(&bytes, is_at_end && self.finished.is_some());
        if used == 0 {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += used as u64;
        // What was there before this reader came is no lag.
        if is_at_end
            && offset > 0
            && self.finished.is_none()
            && let Some(lag) = written_at.and_then(|at| at.elapsed().ok())
        {
            crate::metrics::log_lag(lag);
        }
        Ok(Some(Look::Text { offset, end: self.offset, text }))
    }

    /// Finds the log of a newer attempt: another file under the same name.
    fn find_successor(&self) -> Result<Option<File>, StoreError> {
        let Some(current) = &self.file else { return Ok(None) };
        let Some(named) = pikaci::store::open_log(&self.state, &self.run, &self.job, self.side, None)? else {
            return Ok(None);
        };
        let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let is_other = identity(current).map_err(|source| self.io(source))?
            != identity(&named).map_err(|source| self.io(source))?;
        Ok(is_other.then_some(named))
    }

    fn io(&self, source: std::io::Error) -> StoreError {
        StoreError::Io { action: "read a log of", path: self.state.job_dir(&self.run, &self.job), source }
    }
}

/// The number of the attempt whose log is at the usual place.
pub(crate) fn current_attempt(record: &RunRecord, job: &JobId) -> u32 {
    let Some(job) = record.find_job(job) else { return 1 };
    let finished = u32::try_from(job.attempts.len()).unwrap_or(u32::MAX);
    match job.status {
        JobStatus::Running => finished.saturating_add(1),
        JobStatus::Passed | JobStatus::Failed | JobStatus::Skipped | JobStatus::Unknown(_) => finished.max(1),
    }
}

/// How the job ended; `None` while it may still write. A job that never began ended with its run.
fn finished_status(record: &RunRecord, job: &JobId) -> Option<String> {
    match record.find_job(job) {
        Some(job) if job.status != JobStatus::Running => Some(job.status.to_string()),
        Some(_) | None if record.status != RunStatus::Running => Some(record.status.to_string()),
        Some(_) | None => None,
    }
}
