//! Takes up a run whose process is gone: what lives is adopted, what has a result is judged, the rest goes on.
//!
//! Invariants: who resumes holds the run's lock, so nothing runs twice at once; a run that somebody wanted to end starts
//! nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use pikaci::store::{load_plan, load_prepared_outputs_record};
use pikaci::{
    Event, GuestExit, JobId, JobRecord, JobStatus, PreparedOutputRecord, RunId, RunRecord, RunStatus,
    RunWriter, StateRoot, StoreError,
};
use tokio_util::sync::CancellationToken;

use super::{Backoff, End, Frozen, Input, Observer, Run, RunRequest};
use crate::dispatch::{Dispatch, Reached};
use crate::executor::{Attempt, Execution, Executor, Phases};
use crate::prepared::{NixConfig, Realised, Store};
use crate::recover::read_result_in;
use crate::secrets::Secrets;
use crate::snapshot;

/// Why a run can't be taken up.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// Its records can't be read or written, or it is alive.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is over.
    #[error("run {run} is over; `pikaci rerun {run}` runs it again")]
    Over {
        /// The run.
        run: RunId,
    },
    /// It ended before it knew what to do: there is nothing to take up. `pikaci sweep` writes its end down.
    #[error("run {run} was interrupted before it had jobs")]
    NoPlan {
        /// The run.
        run: RunId,
    },
}

/// An attempt that was running when its process ended.
pub(super) struct RunningAttempt {
    pub(super) job: JobId,
    pub(super) number: u32,
    pub(super) started_at: Timestamp,
}

/// Takes up a run where its process left it, and returns the finished record. Events that were told before are not told
/// again.
pub async fn resume(
    state: &StateRoot,
    run_id: &RunId,
    slots: usize,
    nix: NixConfig,
    executor: Arc<dyn Executor>,
    observer: Observer<'_>,
    cancel: &CancellationToken,
) -> Result<RunRecord, ResumeError> {
    let writer = RunWriter::reopen(state, run_id, Timestamp::now())?;
    let record = writer.record().clone();
    if record.status != RunStatus::Running {
        return Err(ResumeError::Over { run: run_id.clone() });
    }
    let no_plan = || ResumeError::NoPlan { run: run_id.clone() };
    let plan = load_plan(state, run_id)?.ok_or_else(no_plan)?;
    let digest = record.snapshot_digest.clone().ok_or_else(no_plan)?;
    let dir = snapshot::find(&state.snapshots_dir(), &digest).ok_or_else(no_plan)?;
    let (git_head, git_dirty) = (record.git_head.clone(), record.git_dirty.unwrap_or(true));
    let frozen = Frozen::again(dir, digest.clone(), git_head.clone(), git_dirty);
    let request = RunRequest {
        state: state.clone(),
        run_id: run_id.clone(),
        input: Input::Snapshot { digest, git_head, git_dirty },
        source_root: record.source_root.clone().into(),
        target_id: record.target_id.clone(),
        target_description: record.target_description.clone(),
        filters: None,
        jobs: plan.jobs,
        base: None,
        slots,
        rerun_of: record.rerun_of.clone(),
        backoff: Backoff::default(),
        nix,
        secrets: Secrets::default(),
        lost_secrets: plan.secrets,
    };
    let images =
        record.jobs.iter().filter_map(|job| job.remote_linux_vm_execution.as_ref()?.incus_image.as_ref());
    images.for_each(|image| executor.remember_image(image));
    // What was to be said about them was said; now it is about their storage, and the like.
    let _ = executor.check(&request.jobs).await;
    let mut dispatch = Dispatch::new(&request.jobs, request.slots, request.backoff);
    let mut orphans = Vec::new();
    let mut held = held(&request);
    for job in &record.jobs {
        let mut reached = reached(job);
        let made = request.jobs.iter().filter(|spec| spec.id == job.id).find_map(|spec| spec.output.as_ref());
        if let Some(output) = made
            && reached == (Reached::Ended { has_passed: true })
            && !held.contains_key(&output.name)
        {
            // It is gone: it is had again, as another attempt.
            reached = Reached::Failed { attempts: attempts(job) };
        }
        dispatch.restore(&job.id, reached);
        if let Reached::Running { attempt: number } = reached {
            orphans.push(RunningAttempt { job: job.id.clone(), number, started_at: job.started_at });
        }
    }
    // Whoever asked for its end was faster than its end: it is not asked for again.
    let is_cancelled = writer.is_cancel_requested();
    let cancel = cancel.child_token();
    if is_cancelled {
        cancel.cancel();
        dispatch.cancel();
    }
    let mut run = Run::new(writer, observer, request, executor);
    run.is_cancelled = is_cancelled;
    for (name, (realised, record)) in std::mem::take(&mut held) {
        run.outputs.insert(name, realised);
        run.output_records.push(record);
    }
    let message = "taken up again: the pikaci that ran it was gone".to_owned();
    run.append(&Event::Notice { run_id: run_id.clone(), message })?;
    run.dispatch(dispatch, orphans, &frozen, &cancel).await?;
    run.finish(End::Jobs)?;
    run.clean_up().await?;
    Ok(run.writer.record().clone())
}

/// The outputs that the run had, as far as they are there, held again under what was written of them.
fn held(request: &RunRequest) -> BTreeMap<String, (Arc<Realised>, PreparedOutputRecord)> {
    let store = Store::new(&request.state);
    let record = load_prepared_outputs_record(&request.state, &request.run_id).ok().flatten();
    let records = record.into_iter().flat_map(|record| record.outputs);
    let held = records.filter_map(|record| {
        let realised = store.take(record.key.as_ref()?)?;
        Some((realised.kept.name.clone(), (Arc::new(realised), record)))
    });
    held.collect()
}

fn attempts(job: &JobRecord) -> u32 {
    u32::try_from(job.attempts.len()).unwrap_or(u32::MAX)
}

fn reached(job: &JobRecord) -> Reached {
    let attempts = attempts(job);
    match job.status {
        JobStatus::Running => {
            // Its attempt is in the list already when it had failed and another was to follow.
            let is_between = job.attempts.last().is_some_and(|latest| latest.started_at == job.started_at);
            if is_between { Reached::Failed { attempts } } else { Reached::Running { attempt: attempts + 1 } }
        }
        _ => Reached::Ended { has_passed: job.status == JobStatus::Passed },
    }
}

/// Adopts an attempt, or says what became of it.
pub(super) async fn take_up(
    executor: &dyn Executor,
    attempt: &Attempt,
    cancel: &CancellationToken,
) -> Execution {
    // Its result may be here already. Its guest comes first all the same: what it leaves may not have been taken in, and it
    // has to be deleted.
    let result = read_result_in(&attempt.artifacts_dir);
    let adopted = executor.adopt(attempt, cancel).await;
    if let Some(result) = result {
        attempt.host_log.line("taken up again: its result was there already");
        let exit = GuestExit::Result(result);
        return match adopted {
            Some(execution) => Execution { exit, ..execution },
            None => over(attempt, exit),
        };
    }
    if let Some(execution) = adopted {
        return execution;
    }
    let detail = "interrupted: the pikaci that ran it is gone, and so is its guest".to_owned();
    attempt.host_log.line(&detail);
    over(attempt, if cancel.is_cancelled() { GuestExit::Cancelled } else { GuestExit::NoResult { detail } })
}

pub(super) fn over(attempt: &Attempt, exit: GuestExit) -> Execution {
    let record = Phases::new(attempt, "incus").finish();
    Execution { exit, record, cleanup: Box::pin(std::future::ready(Ok(()))) }
}
