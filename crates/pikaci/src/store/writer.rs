//! The one writer of a run.
//!
//! Invariants: the lock is held as long as the writer lives; an event is on disk before the records that follow from it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::atomic::{Durability, replace, sync_folder};
use super::layout::{ARTIFACTS, ATTEMPTS, EVENTS, HOST_LOG, PLAN, PREPARED_OUTPUTS, RUN, STATUS};
use super::{StateRoot, StoreError, confined, events, lock};
use crate::event::{self, Event, FoldError};
use crate::id::{JobId, RunId};
use crate::record::{JobRecord, PlanRecord, PreparedOutputsRecord, RunRecord};

/// Writes one run. Dropping it frees the run's lock, finished or not.
#[derive(Debug)]
pub struct RunWriter {
    state: StateRoot,
    record: RunRecord,
    events: File,
    is_cancel_requested: bool,
    _lock: File,
}

impl RunWriter {
    /// Opens a new run with its first event, which must be [`Event::RunStarted`].
    ///
    /// The run's folder appears whole: with its lock held, its first event and its first record.
    pub fn create(state: &StateRoot, started: &Event) -> Result<RunWriter, StoreError> {
        let Event::RunStarted { run_id: run, created_at: now, .. } = started else {
            let run = RunId::new(Timestamp::UNIX_EPOCH, 0);
            return Err(StoreError::Fold { run, source: FoldError::NoStart });
        };
        let record = event::opened(started)
            .ok_or_else(|| StoreError::Fold { run: run.clone(), source: FoldError::NoStart })?;
        let folder = state.run_dir(run);
        if folder.exists() {
            return Err(StoreError::RunExists { run: run.clone() });
        }
        let building = state.runs_dir().join(format!(".{run}.new"));
        fs::create_dir_all(&building).map_err(StoreError::io("create", &building))?;
        let lock = lock::take(&building, run, *now)?;
        let path = building.join(EVENTS);
        let mut events = File::create(&path).map_err(StoreError::io("create", &path))?;
        let first = events::append(&mut events, started).and_then(|()| events.sync_data());
        first.map_err(StoreError::io("write", &path))?;
        // Its event is flushed, and a reader folds the events when run.json did not survive.
        replace_json(building.join(RUN), &record, Durability::Process)?;
        sync_folder(&building).map_err(StoreError::io("flush", &building))?;
        match fs::rename(&building, &folder) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                return Err(StoreError::RunExists { run: run.clone() });
            }
            Err(source) => return Err(StoreError::Io { action: "create", path: folder, source }),
        }
        sync_folder(&state.runs_dir()).map_err(StoreError::io("flush", state.runs_dir()))?;
        Ok(RunWriter { state: state.clone(), record, events, is_cancel_requested: false, _lock: lock })
    }

    /// Takes up a run whose writer is gone. Its record is folded anew from its events.
    pub fn reopen(state: &StateRoot, run: &RunId, now: Timestamp) -> Result<RunWriter, StoreError> {
        let folder = state.run_dir(run);
        if !folder.is_dir() {
            return Err(StoreError::RunMissing { run: run.clone() });
        }
        let lock = lock::take(&folder, run, now)?;
        let path = folder.join(EVENTS);
        let reading = confined::open(&folder, EVENTS.as_ref()).map_err(StoreError::io("open", &path))?;
        let reading = reading.ok_or_else(|| malformed(run, EVENTS, "it is missing"))?;
        let read = events::read(reading).map_err(|error| malformed(run, EVENTS, &error.to_string()))?;
        let record =
            event::fold(&read.events).map_err(|source| StoreError::Fold { run: run.clone(), source })?;
        if record.run_id != *run {
            return Err(malformed(run, EVENTS, "it names another run"));
        }
        let mut events = OpenOptions::new().write(true).open(&path).map_err(StoreError::io("open", &path))?;
        events::cut_torn_end(&mut events, read.whole_bytes).map_err(StoreError::io("write", &path))?;
        replace_json(folder.join(RUN), &record, Durability::Power)?;
        let is_cancel_requested =
            read.events.iter().any(|event| matches!(event, Event::CancelRequested { .. }));
        Ok(RunWriter { state: state.clone(), record, events, is_cancel_requested, _lock: lock })
    }

    /// The record as it stands.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Whether somebody asked for the run to be stopped: now, or before its earlier writer was gone.
    pub fn is_cancel_requested(&self) -> bool {
        self.is_cancel_requested
    }

    /// The state root that the run is in.
    pub fn state(&self) -> &StateRoot {
        &self.state
    }

    /// Appends an event, then replaces the records that follow from it.
    pub fn append(&mut self, event: &Event) -> Result<(), StoreError> {
        let path = self.folder().join(EVENTS);
        // A loss of power ends the run's process as well: what is flushed is what a sweep must not have to guess.
        let durability = match event {
            Event::AttemptFailed { .. } | Event::JobFinished { .. } | Event::RunFinished { .. } => {
                Durability::Power
            }
            _ => Durability::Process,
        };
        events::append(&mut self.events, event).map_err(StoreError::io("append to", &path))?;
        if durability == Durability::Power {
            self.events.sync_data().map_err(StoreError::io("flush", &path))?;
        }
        event::apply(&mut self.record, event);
        self.is_cancel_requested |= matches!(event, Event::CancelRequested { .. });
        if let Event::JobStarted { job, .. } | Event::JobFinished { job, .. } = event {
            self.write_status(job)?;
        }
        // The events survive the loss of power, and a reader folds them when run.json did not.
        replace_json(
            self.folder().join(RUN),
            &self.record,
            match event {
                Event::RunFinished { .. } => Durability::Power,
                _ => Durability::Process,
            },
        )
    }

    /// Writes `plan.json`. Its event is the caller's to append.
    pub fn write_plan(&self, plan: &PlanRecord) -> Result<String, StoreError> {
        replace_json(self.folder().join(PLAN), plan, Durability::Power)?;
        Ok(PLAN.to_owned())
    }

    /// Writes `prepared-outputs.json`. Its event is the caller's to append.
    pub fn write_prepared_outputs(&self, outputs: &PreparedOutputsRecord) -> Result<String, StoreError> {
        replace_json(self.folder().join(PREPARED_OUTPUTS), outputs, Durability::Power)?;
        Ok(PREPARED_OUTPUTS.to_owned())
    }

    /// Moves what attempt `number` at a job left to `attempts/<number>/`, so that the next one starts with nothing and
    /// overwrites nothing.
    pub fn archive_attempt(&self, job: &JobId, number: u32) -> Result<(), StoreError> {
        let folder = self.state.job_dir(&self.record.run_id, job);
        let archive = folder.join(ATTEMPTS).join(number.to_string());
        fs::create_dir_all(&archive).map_err(StoreError::io("create", &archive))?;
        for name in [HOST_LOG, ARTIFACTS, STATUS] {
            let from = folder.join(name);
            match fs::rename(&from, archive.join(name)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StoreError::Io { action: "archive", path: from, source }),
            }
        }
        sync_folder(&archive).map_err(StoreError::io("flush", &archive))
    }

    fn write_status(&self, job: &JobRecord) -> Result<(), StoreError> {
        let folder = self.state.job_dir(&self.record.run_id, &job.id);
        fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        replace_json(folder.join(STATUS), job, Durability::Process)
    }

    fn folder(&self) -> PathBuf {
        self.state.run_dir(&self.record.run_id)
    }
}

fn replace_json(path: PathBuf, value: &impl Serialize, durability: Durability) -> Result<(), StoreError> {
    let replaced = serde_json::to_vec(value).map_err(io::Error::from).and_then(|mut content| {
        content.push(b'\n');
        replace(&path, &content, durability)
    });
    replaced.map_err(StoreError::io("replace", path))
}

fn malformed(run: &RunId, file: &'static str, reason: &str) -> StoreError {
    StoreError::Malformed { run: run.clone(), file, reason: reason.to_owned() }
}
