//! Finds a run, a job and a log from what a URL says.
//!
//! Invariant: text becomes a parsed id before anything is looked for; a run is found only in the state root of a
//! repository that the user may read.

use std::time::Duration;

use pikaci::{JobId, LogSide, RunId, RunRecord, RunStatus, StateRoot};

use super::Web;
use super::error::WebError;
use crate::auth::Principal;

/// Reading a record takes milliseconds; a disk that takes this long is out of order.
const READ_DEADLINE: Duration = Duration::from_secs(30);

/// How long a stream waits for a run that was named and has not begun, and how often it looks.
const BEGIN_DEADLINE: Duration = Duration::from_secs(10);
const BEGIN_LOOK_EVERY: Duration = Duration::from_millis(10);

/// A run that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The run.
    pub(super) run: RunId,
    /// Where it is.
    pub(super) state: StateRoot,
    /// Whose it is.
    pub(super) repository: String,
}

/// Finds a run by its id.
pub(super) async fn find(web: &Web, principal: &Principal, run: &str) -> Result<Found, WebError> {
    let run = RunId::parse(run)?;
    match web.forge().locate_run(&run).await? {
        Some((repository, state)) if principal.can_read(&repository) => {
            Ok(Found { run, state, repository: repository.to_owned() })
        }
        Some(_) | None => Err(pikaci::StoreError::RunMissing { run }.into()),
    }
}

/// Finds the job that is meant: the one that is named, which may not have begun yet, else the one whose log matters
/// most.
pub(super) async fn job(found: &Found, name: Option<&str>) -> Result<JobId, WebError> {
    let named = name.filter(|name| !name.is_empty()).map(JobId::parse).transpose()?;
    let Found { run, state, .. } = found.clone();
    read(move || {
        let record = pikaci::load_run_record(&state, &run)?;
        match named {
            None => {
                let job = pikaci::store::default_job(&record);
                job.map(|job| job.id.clone()).ok_or_else(|| pikaci::StoreError::NoJobs { run }.into())
            }
            Some(job) if may_have(&state, &record, &job)? => Ok(job),
            Some(job) => Err(pikaci::StoreError::JobMissing { run, job }.into()),
        }
    })
    .await
}

/// Like [`job`], for who is willing to wait: a run has a name before it has a folder, and a folder before it has a job.
pub(super) async fn job_that_begins(found: &Found, name: Option<&str>) -> Result<JobId, WebError> {
    let until = tokio::time::Instant::now() + BEGIN_DEADLINE;
    loop {
        match job(found, name).await {
            Err(WebError::NotFound(message)) if tokio::time::Instant::now() >= until => {
                return Err(WebError::NotFound(message));
            }
            Err(WebError::NotFound(_)) if is_to_begin(found).await? => {
                tokio::time::sleep(BEGIN_LOOK_EVERY).await;
            }
            decided => return decided,
        }
    }
}

/// Whether there is no record yet, or one of a run that goes on.
async fn is_to_begin(found: &Found) -> Result<bool, WebError> {
    let Found { run, state, .. } = found.clone();
    read(move || match pikaci::load_run_record(&state, &run) {
        Ok(record) => Ok(record.status == RunStatus::Running),
        Err(error) => Ok(error.is_not_found()),
    })
    .await
}

/// Whether the run has a job, or will have it.
fn may_have(state: &StateRoot, record: &RunRecord, job: &JobId) -> Result<bool, pikaci::StoreError> {
    if record.find_job(job).is_some() {
        return Ok(true);
    }
    if record.status != RunStatus::Running {
        return Ok(false);
    }
    let plan = pikaci::store::load_plan(state, &record.run_id)?;
    Ok(plan.is_none_or(|plan| plan.jobs.iter().any(|planned| planned.id == *job)))
}

/// Reads which log is meant: the guest's unless the host's is asked for.
pub(super) fn side(kind: Option<&str>) -> Result<LogSide, WebError> {
    match kind.unwrap_or("guest") {
        "guest" | "" => Ok(LogSide::Guest),
        "host" => Ok(LogSide::Host),
        _ => Err(WebError::bad_request("`kind` is `guest` or `host` here")),
    }
}

/// Runs something that reads files, off the threads that serve.
pub(super) async fn read<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WebError> + Send + 'static,
) -> Result<T, WebError> {
    match tokio::time::timeout(READ_DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => Err(WebError::internal(&error)),
        Err(error) => Err(WebError::internal(&error)),
    }
}
