//! `pikaci logs`
//!
//! Invariant: memory does not depend on the length of a log; its bytes are printed as they are, each once.

use std::thread;
use std::time::Duration;

use pikaci::{
    JobId, JobRecord, JobStatus, LogSide, RunId, RunRecord, RunStatus, load_logs_metadata, load_run_record,
};
use pikaci::{StateRoot, StoreError, store};
use serde_json::json;

use super::DONE;
use crate::arguments::{Kind, LogsArguments};
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{print_bytes, print_json, print_line};

const CHUNK_BYTES: u64 = 1024 * 1024;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Prints the log of a job.
pub(crate) fn logs(arguments: &LogsArguments, config: &Config) -> Result<u8, Failure> {
    let (state, run) = (&config.state, arguments.run.resolve(&config.state)?);
    if arguments.metadata_json {
        print_json(&json!(load_logs_metadata(state, &run, arguments.job.as_ref())?));
        return Ok(DONE);
    }
    let job = choose_job(state, &run, arguments)?;
    let sides: &[LogSide] = match arguments.kind {
        Kind::Host => &[LogSide::Host],
        Kind::Guest => &[LogSide::Guest],
        Kind::Both => &[LogSide::Host, LogSide::Guest],
    };
    let mut printers: Vec<Printer> =
        sides.iter().map(|&side| Printer { side, offset: 0, is_found: false }).collect();
    let has_headings = printers.len() > 1;
    loop {
        // Looked at before the logs: when the job has ended, what they hold now is all.
        let is_over = !arguments.follow || is_over(&load_run_record(state, &run)?, &job);
        for printer in &mut printers {
            if !printer.print_new(state, &run, &job, has_headings)? {
                return Ok(DONE);
            }
        }
        if is_over {
            break;
        }
        thread::sleep(LOOK_EVERY);
    }
    match printers.iter().any(|printer| printer.is_found) {
        true => Ok(DONE),
        false => Err(Failure::usage_text(format!(
            "job {job} of run {run} has no such log; `pikaci logs {run} --metadata-json` shows which there are"
        ))),
    }
}

/// One log, and how much of it was printed.
struct Printer {
    side: LogSide,
    offset: u64,
    is_found: bool,
}

impl Printer {
    /// Prints what the log has more than before. Returns whether anybody still reads it.
    fn print_new(
        &mut self,
        state: &StateRoot,
        run: &RunId,
        job: &JobId,
        has_heading: bool,
    ) -> Result<bool, StoreError> {
        loop {
            let Some(range) = store::read_log_range(state, run, job, self.side, self.offset, CHUNK_BYTES)?
            else {
                return Ok(true);
            };
            if !self.is_found && has_heading {
                print_line(match self.side {
                    LogSide::Host => "==> host.log <==",
                    LogSide::Guest => "==> guest.log <==",
                });
            }
            self.is_found = true;
            if range.total_bytes < self.offset {
                // Another attempt began, with a log of its own.
                self.offset = 0;
                continue;
            }
            if range.bytes.is_empty() {
                return Ok(true);
            }
            self.offset += range.bytes.len() as u64;
            if print_bytes(&range.bytes).is_err() {
                return Ok(false);
            }
        }
    }
}

/// The job that was named, or the one that is probably meant. Waits for the first job of a run that is followed.
fn choose_job(state: &StateRoot, run: &RunId, arguments: &LogsArguments) -> Result<JobId, Failure> {
    loop {
        let record = load_run_record(state, run)?;
        let can_wait = arguments.follow && record.status == RunStatus::Running;
        let chosen = match &arguments.job {
            Some(job) => record.find_job(job),
            None => probable_job(&record, arguments.follow),
        };
        match (chosen, &arguments.job) {
            (Some(job), _) => return Ok(job.id.clone()),
            (None, _) if can_wait => thread::sleep(LOOK_EVERY),
            (None, Some(job)) => {
                return Err(StoreError::JobMissing { run: run.clone(), job: job.clone() }.into());
            }
            (None, None) => return Err(StoreError::NoJobs { run: run.clone() }.into()),
        }
    }
}

fn probable_job(run: &RunRecord, is_followed: bool) -> Option<&JobRecord> {
    let is_running = |job: &&JobRecord| is_followed && job.status == JobStatus::Running;
    run.jobs.iter().find(is_running).or_else(|| store::default_job(run))
}

fn is_over(run: &RunRecord, job: &JobId) -> bool {
    run.status != RunStatus::Running || run.find_job(job).is_some_and(|job| job.status != JobStatus::Running)
}
