//! One run, from its first record to its last.
//!
//! Invariants: the run's folder with its lock exists before anything slow begins; every fact becomes an event, and the
//! event is on disk before the observer hears of it; whatever happens after the folder exists, the run is finished.

mod request;
mod resume;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pikaci::store::{guest_log_path, host_log_path};
use pikaci::verdict::run_verdict;
use pikaci::{
    AttemptRecord, Digest, Event, Fault, GuestExit, JobId, JobRecord, JobSpec, JobStatus, Outcome,
    PlanRecord, PrepareTiming, PreparedOutputRecord, PreparedOutputsRecord, RemoteLinuxVmExecutionRecord,
    RunRecord, RunStatus, RunWriter, SCHEMA_VERSION, StoreError, verdict,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use request::{Input, RerunError, RunRequest, rerun};
pub use resume::{ResumeError, resume};

use crate::described::described;
use crate::dispatch::{Action, After, Backoff, Dispatch};
use crate::executor::{Attempt, Execution, Executor, Report, Share};
use crate::host_log::HostLog;
use crate::prepared::{self, Begun, Made, Realised, Site, Store};
use crate::snapshot::{self, SnapshotError};

const REPORTS_MAX: usize = 64;
/// How long a run waits for the clean-up of its last jobs, after its verdict is on disk.
const CLEANUP_DEADLINE: Duration = Duration::from_secs(60);

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The executor can't have what the jobs ask for. Nothing was made.
    #[error("this can't be run here: {}", reasons.join("; "))]
    Refused {
        /// All reasons.
        reasons: Vec<String>,
    },
    /// The records can't be written. What was running has been ended.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Hears every event after it is on disk.
pub type Observer<'a> = &'a mut (dyn FnMut(&Event) + Send);

/// Runs the jobs of a request and returns the finished record, whatever its outcome.
///
/// Triggering `cancel` ends what runs within five seconds; the record says so. Must be called on a tokio runtime.
pub async fn run(
    request: RunRequest,
    executor: Arc<dyn Executor>,
    observer: Observer<'_>,
    cancel: &CancellationToken,
) -> Result<RunRecord, RunError> {
    let reasons = executor.check(&request.jobs).await;
    if !reasons.is_empty() {
        return Err(RunError::Refused { reasons });
    }
    request::prepare_state_root(&request.state)?;
    let started = request.started(Timestamp::now());
    let writer = RunWriter::create(&request.state, &started)?;
    observer(&started);
    let mut run = Run::new(writer, observer, request, executor);
    let end = run.work(cancel).await?;
    run.finish(end)?;
    run.clean_up().await?;
    Ok(run.writer.record().clone())
}

/// What a task needs to work on an attempt.
struct OwnSite {
    state: pikaci::StateRoot,
    executor: Arc<dyn Executor>,
    nix: prepared::NixConfig,
    is_asked: bool,
    needed: Vec<(String, Digest)>,
    /// A secret of the job that the run had, and has no more.
    lost_secret: Option<String>,
}

impl OwnSite {
    /// Runs a job, or has the output that it prepares.
    async fn work(&self, attempt: &Attempt, begun: Begun, cancel: &CancellationToken) -> Made {
        if let Some(output) = &attempt.job.output {
            let (state, executor, nix) = (&self.state, self.executor.as_ref(), &self.nix);
            let site = Site { state, executor, nix, is_asked: self.is_asked, needed: self.needed.clone() };
            return prepared::realise(&site, attempt, output, begun, cancel).await;
        }
        if let (Some(name), Begun::Not) = (&self.lost_secret, &begun) {
            let detail =
                format!("the secret {name} went with the pikaci that was given it; run the target anew");
            attempt.host_log.line(&detail);
            return Made { execution: resume::over(attempt, GuestExit::NoResult { detail }), output: None };
        }
        let execution = match begun {
            Begun::Not => self.executor.execute(attempt, cancel).await,
            Begun::Before => resume::take_up(self.executor.as_ref(), attempt, cancel).await,
        };
        Made { execution, output: None }
    }
}

/// How a run's work ended, beside what its jobs say.
enum End {
    /// The jobs decide.
    Jobs,
    /// Nothing had to run.
    Nothing { message: String },
    /// There was nothing to run the jobs on.
    NoSnapshot { fault: Fault, message: String },
    /// It was cancelled before there were jobs.
    Cancelled,
}

struct Run<'o> {
    writer: RunWriter,
    observer: Observer<'o>,
    request: RunRequest,
    executor: Arc<dyn Executor>,
    cleanups: JoinSet<(JobId, Result<(), String>)>,
    is_cancelled: bool,
    /// The outputs that are there, by name, held until the run is over.
    outputs: BTreeMap<String, Arc<Realised>>,
    output_records: Vec<PreparedOutputRecord>,
}

/// What a finished attempt hands back.
struct Attempted {
    job: JobId,
    number: u32,
    started_at: Timestamp,
    execution: Execution,
    output: Option<(Arc<Realised>, PreparedOutputRecord)>,
}

impl<'o> Run<'o> {
    fn new(
        writer: RunWriter,
        observer: Observer<'o>,
        request: RunRequest,
        executor: Arc<dyn Executor>,
    ) -> Run<'o> {
        Run {
            writer,
            observer,
            request,
            executor,
            cleanups: JoinSet::new(),
            is_cancelled: false,
            outputs: BTreeMap::new(),
            output_records: Vec::new(),
        }
    }
}

impl Run<'_> {
    fn append(&mut self, event: &Event) -> Result<(), StoreError> {
        self.writer.append(event)?;
        (self.observer)(event);
        Ok(())
    }

    async fn work(&mut self, cancel: &CancellationToken) -> Result<End, StoreError> {
        let snapshot = tokio::select! {
            snapshot = self.freeze() => snapshot,
            () = cancel.cancelled() => {
                self.note_cancel()?;
                return Ok(End::Cancelled);
            }
        };
        let frozen = match snapshot {
            Ok(frozen) => frozen,
            Err((fault, message)) => return Ok(End::NoSnapshot { fault, message }),
        };
        let changed_files = frozen.changed_files.clone();
        self.append(&frozen.event(&self.request))?;
        if !self.request.is_concerned(&changed_files) {
            let message = "nothing that changed concerns this target".to_owned();
            return Ok(End::Nothing { message });
        }
        let run_id = self.request.run_id.clone();
        let plan = PlanRecord {
            schema_version: SCHEMA_VERSION,
            run_id: run_id.clone(),
            target_id: self.request.target_id.clone(),
            jobs: self.request.jobs.clone(),
            secrets: self.request.secrets.names().map(str::to_owned).collect(),
        };
        let plan_path = self.writer.write_plan(&plan)?;
        let jobs = plan.jobs.iter().map(|job| job.id.clone()).collect();
        self.append(&Event::Planned { run_id, plan_path, jobs })?;
        let dispatch = Dispatch::new(&self.request.jobs, self.request.slots, self.request.backoff);
        self.dispatch(dispatch, Vec::new(), &frozen, cancel).await?;
        Ok(End::Jobs)
    }

    async fn freeze(&self) -> Result<Frozen, (Fault, String)> {
        let (input, request) = (self.request.input.clone(), self.request.snapshot_request());
        let work = move || match input {
            Input::Source(_) => snapshot::take(&request)
                .map(Frozen::from)
                .map_err(|error| (fault_of(&error), described(&error))),
            Input::Snapshot { digest, git_head, git_dirty } => {
                match snapshot::find(&request.snapshots_dir, &digest) {
                    Some(dir) => Ok(Frozen::again(dir, digest, git_head, git_dirty)),
                    None => {
                        Err((Fault::Infra, format!("the snapshot {digest} was removed; run the target anew")))
                    }
                }
            }
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err((Fault::Infra, error.to_string())))
    }

    /// Runs all jobs to their end. `orphans` are attempts of a process that is gone: they are taken up first.
    async fn dispatch(
        &mut self,
        mut dispatch: Dispatch,
        orphans: Vec<resume::RunningAttempt>,
        frozen: &Frozen,
        cancel: &CancellationToken,
    ) -> Result<(), StoreError> {
        let (reports, mut reported) = mpsc::channel(REPORTS_MAX);
        let mut attempts: JoinSet<Result<Attempted, (JobId, u32, Timestamp)>> = JoinSet::new();
        let mut retries: JoinSet<JobId> = JoinSet::new();
        for resume::RunningAttempt { job, number, started_at } in orphans {
            let prepared = self.attempt(&job, number, frozen, reports.clone());
            let (site, cancel) = (self.own_site(&job), cancel.clone());
            attempts.spawn(async move {
                let attempted = prepared.map_err(|()| (job.clone(), number, started_at))?;
                let made = site.work(&attempted, Begun::Before, &cancel).await;
                let Made { execution, output } = made;
                Ok(Attempted { job, number, started_at, execution, output })
            });
        }
        loop {
            for action in dispatch.decide() {
                match action {
                    Action::Skip { job, needed } => self.skip(&job, needed.as_ref())?,
                    Action::Start { job, attempt } => {
                        let started_at = self.start(&job, attempt)?;
                        let prepared = self.attempt(&job, attempt, frozen, reports.clone());
                        let (site, cancel) = (self.own_site(&job), cancel.clone());
                        attempts.spawn(async move {
                            let attempted = prepared.map_err(|()| (job.clone(), attempt, started_at))?;
                            let made = site.work(&attempted, Begun::Not, &cancel).await;
                            let Made { execution, output } = made;
                            Ok(Attempted { job, number: attempt, started_at, execution, output })
                        });
                    }
                }
            }
            if dispatch.is_over() {
                break;
            }
            tokio::select! {
                // A job that ends because of the cancel must not be seen before it: another one would be started.
                biased;
                () = cancel.cancelled(), if !self.is_cancelled => {
                    self.note_cancel()?;
                    dispatch.cancel();
                }
                Some(ended) = attempts.join_next() => {
                    // Reports of the attempt were sent before it ended.
                    while let Ok(report) = reported.try_recv() {
                        self.report(report)?;
                    }
                    self.ended(ended, &mut dispatch, &mut retries)?;
                }
                Some(report) = reported.recv() => self.report(report)?,
                Some(Ok(job)) = retries.join_next() => dispatch.retry(&job),
            }
        }
        Ok(())
    }

    fn note_cancel(&mut self) -> Result<(), StoreError> {
        self.is_cancelled = true;
        let run_id = self.request.run_id.clone();
        self.append(&Event::CancelRequested {
            run_id,
            at: Timestamp::now(),
            reason: "asked to stop".to_owned(),
        })
    }

    fn report(&mut self, report: Report) -> Result<(), StoreError> {
        let run_id = self.request.run_id.clone();
        self.append(&match report {
            Report::Phase { job, phase } => Event::PhaseFinished { run_id, job_id: job, phase },
            Report::Notice { message } => Event::Notice { run_id, message },
        })
    }

    fn spec(&self, job: &JobId) -> Option<&JobSpec> {
        self.request.jobs.iter().find(|spec| spec.id == *job)
    }

    /// Records the beginning of an attempt.
    fn start(&mut self, job: &JobId, attempt: u32) -> Result<Timestamp, StoreError> {
        if attempt > 1 {
            self.writer.archive_attempt(job, attempt - 1)?;
        }
        let started_at = Timestamp::now();
        if let Some(mut record) = self.record_of(job, started_at) {
            record.attempts =
                self.writer.record().find_job(job).map(|job| job.attempts.clone()).unwrap_or_default();
            self.append(&Event::JobStarted { run_id: self.request.run_id.clone(), job: record })?;
        }
        Ok(started_at)
    }

    /// A job's record as it is when an attempt begins.
    fn record_of(&self, job: &JobId, started_at: Timestamp) -> Option<JobRecord> {
        let spec = self.spec(job)?;
        Some(JobRecord {
            id: job.clone(),
            description: spec.description.clone(),
            status: JobStatus::Running,
            outcome: None,
            fault: None,
            executor: self.executor.kind(),
            plan_node_id: Some(format!("job/{job}")),
            timeout_secs: spec.timeout_secs,
            host_log_path: host_log_path(job),
            guest_log_path: guest_log_path(job),
            started_at,
            finished_at: None,
            exit_code: None,
            message: None,
            pre_execution_prepare_duration_ms: self.prepare_ms(spec),
            remote_linux_vm_execution: None,
            attempts: Vec::new(),
        })
    }

    /// What a job's attempt works with beside the executor, owned by its task.
    fn own_site(&self, job: &JobId) -> OwnSite {
        let spec = self.spec(job);
        let needed = spec.into_iter().flat_map(|spec| &spec.prepared);
        let needed = needed.filter_map(|name| Some((name.clone(), self.outputs.get(name)?.kept.key.clone())));
        OwnSite {
            state: self.request.state.clone(),
            executor: Arc::clone(&self.executor),
            nix: self.request.nix.clone(),
            is_asked: self.request.asks_for_builds(),
            needed: needed.collect(),
            lost_secret: spec.and_then(|spec| self.request.find_lost_secret(&spec.secrets)),
        }
    }

    fn shares_of(&self, name: &str) -> Option<Vec<Share>> {
        let maker = self.request.jobs.iter().filter_map(|job| job.output.as_ref());
        let output = maker.into_iter().find(|output| output.name == name)?;
        Some(self.outputs.get(name)?.kept.shares(&output.mount))
    }

    /// Milliseconds that a job's outputs took, the longest of them: they are made at the same time.
    fn prepare_ms(&self, spec: &JobSpec) -> Option<u64> {
        let is_meant = |record: &&PreparedOutputRecord| {
            spec.prepared.iter().any(|name| record.node_id == format!("prepared/{name}"))
        };
        self.output_records.iter().filter(is_meant).filter_map(|record| record.duration_ms).max()
    }

    /// Notes an output that is there now. It stays while the run lives.
    fn has_output(
        &mut self,
        realised: Arc<Realised>,
        record: PreparedOutputRecord,
        started_at: Timestamp,
    ) -> Result<(), StoreError> {
        let run_id = self.request.run_id.clone();
        let timing = PrepareTiming {
            node_id: record.node_id.clone(),
            started_at,
            finished_at: Timestamp::now(),
            duration_ms: record.duration_ms.unwrap_or(0),
        };
        if let Some(warning) = &record.warning {
            let message = format!("{}: {warning}", record.node_id);
            self.append(&Event::Notice { run_id: run_id.clone(), message })?;
        }
        self.outputs.insert(realised.kept.name.clone(), realised);
        self.output_records.retain(|known| known.node_id != record.node_id);
        self.output_records.push(record);
        self.output_records.sort_by(|one, other| one.node_id.cmp(&other.node_id));
        let outputs = self.output_records.clone();
        let written = PreparedOutputsRecord { schema_version: SCHEMA_VERSION, outputs };
        let prepared_outputs_path = self.writer.write_prepared_outputs(&written)?;
        self.append(&Event::PreparedOutputsWritten { run_id: run_id.clone(), prepared_outputs_path })?;
        self.append(&Event::PrepareFinished { run_id, timing })
    }

    /// Makes what an attempt is given. An error is said in the host log where there can be one.
    fn attempt(
        &self,
        job: &JobId,
        number: u32,
        frozen: &Frozen,
        reports: mpsc::Sender<Report>,
    ) -> Result<Attempt, ()> {
        let (state, run_id) = (&self.request.state, &self.request.run_id);
        let spec = self.spec(job).ok_or(())?.clone();
        let shares = spec.prepared.iter().filter_map(|name| self.shares_of(name)).flatten().collect();
        let spec_secrets = spec.secrets.clone();
        let new_folder = || Store::new(state).new_folder(run_id, job.as_str(), number);
        let output_dir = spec.output.as_ref().map(|_| new_folder());
        let host_log = HostLog::open(&state.host_log(run_id, job)).map_err(|_| ())?;
        host_log.line(format!("attempt {number} of job {job}, run {run_id}"));
        Ok(Attempt {
            run_id: run_id.clone(),
            job: spec,
            number,
            snapshot_dir: frozen.dir.clone(),
            snapshot_digest: frozen.digest.clone(),
            artifacts_dir: state.artifacts_dir(run_id, job),
            scratch_dir: state.run_dir(run_id).join("scratch").join(format!("{job}-{number}")),
            secrets: self.request.secrets.for_job(&spec_secrets),
            shares,
            output_dir,
            host_log,
            reports,
        })
    }

    fn ended(
        &mut self,
        ended: Result<Result<Attempted, (JobId, u32, Timestamp)>, tokio::task::JoinError>,
        dispatch: &mut Dispatch,
        retries: &mut JoinSet<JobId>,
    ) -> Result<(), StoreError> {
        let (job, number, started_at, exit, record) = match ended {
            Ok(Ok(Attempted { job, number, started_at, execution, output })) => {
                if let Some((realised, record)) = output {
                    self.has_output(realised, record, started_at)?;
                }
                let (named, cleanup) = (job.clone(), execution.cleanup);
                self.cleanups.spawn(async move { (named, cleanup.await) });
                (job, number, started_at, execution.exit, Some(execution.record))
            }
            Ok(Err((job, number, started_at))) => {
                let detail = "cannot make the job's folder".to_owned();
                (job, number, started_at, GuestExit::NoResult { detail }, None)
            }
            // A task of ours panicked: end the run's process, whose supervisor sees an interrupted run.
            Err(error) => {
                std::panic::resume_unwind(error.try_into_panic().unwrap_or(Box::new("a job's task was lost")))
            }
        };
        let judged = verdict(exit);
        let attempt = AttemptRecord {
            number,
            outcome: judged.outcome.clone(),
            fault: judged.fault.clone(),
            started_at,
            finished_at: Timestamp::now(),
            exit_code: judged.exit_code,
            message: judged.message.clone(),
        };
        let run_id = self.request.run_id.clone();
        match dispatch.ended(&job, judged.status == JobStatus::Passed, judged.is_retryable()) {
            After::RetryIn(wait) => {
                let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.append(&Event::AttemptFailed { run_id, job_id: job.clone(), attempt, retry_in_ms })?;
                retries.spawn(async move {
                    tokio::time::sleep(wait).await;
                    job
                });
                Ok(())
            }
            After::Final => self.job_finished(&job, attempt, judged.status, record),
        }
    }

    fn job_finished(
        &mut self,
        job: &JobId,
        attempt: AttemptRecord,
        status: JobStatus,
        execution: Option<RemoteLinuxVmExecutionRecord>,
    ) -> Result<(), StoreError> {
        let Some(mut record) = self.record_of(job, attempt.started_at) else { return Ok(()) };
        record.status = status;
        record.outcome = Some(attempt.outcome.clone());
        record.fault = attempt.fault.clone();
        record.finished_at = Some(attempt.finished_at);
        record.exit_code = attempt.exit_code;
        record.message = attempt.message.clone();
        record.remote_linux_vm_execution = execution;
        record.attempts =
            self.writer.record().find_job(job).map(|job| job.attempts.clone()).unwrap_or_default();
        record.attempts.push(attempt);
        self.append(&Event::JobFinished { run_id: self.request.run_id.clone(), job: record })
    }

    fn skip(&mut self, job: &JobId, needed: Option<&JobId>) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let Some(fresh) = self.record_of(job, now) else { return Ok(()) };
        let known = self.writer.record().find_job(job).cloned();
        let mut record = known.unwrap_or(fresh);
        record.status = JobStatus::Skipped;
        record.finished_at = Some(now);
        match needed {
            Some(needed) => {
                record.outcome = Some(Outcome::Skipped);
                record.message = Some(format!("it needs {needed}, which did not pass"));
            }
            None => {
                record.outcome = Some(Outcome::Cancelled);
                record.fault = Some(Fault::User);
                record.message = Some("the run was cancelled".to_owned());
            }
        }
        self.append(&Event::JobFinished { run_id: self.request.run_id.clone(), job: record })
    }

    fn finish(&mut self, end: End) -> Result<(), StoreError> {
        let mut run = self.writer.record().clone();
        let (status, outcome, fault, message) = match end {
            End::Jobs => {
                let (status, outcome, fault) = run_verdict(&run.jobs);
                (status, outcome, fault, None)
            }
            End::Nothing { message } => (RunStatus::Skipped, Outcome::Skipped, None, Some(message)),
            End::NoSnapshot { fault, message } => {
                (RunStatus::Failed, Outcome::Failed, Some(fault), Some(message))
            }
            End::Cancelled => (RunStatus::Failed, Outcome::Cancelled, Some(Fault::User), None),
        };
        (run.status, run.outcome, run.fault, run.message) = (status, Some(outcome), fault, message);
        run.finished_at = Some(Timestamp::now());
        self.append(&Event::RunFinished { run })
    }

    /// Waits for the clean-up of all jobs; what fails is an event, and changes no verdict.
    async fn clean_up(&mut self) -> Result<(), StoreError> {
        let start = Instant::now();
        while let Some(left) = CLEANUP_DEADLINE.checked_sub(start.elapsed()) {
            let message = match timeout(left, self.cleanups.join_next()).await {
                Ok(None) => break,
                Ok(Some(Ok((_, Ok(()))))) => continue,
                Ok(Some(Ok((job, Err(message))))) => (Some(job), message),
                Ok(Some(Err(error))) => (None, error.to_string()),
                Err(_) => (None, format!("cleaning up took longer than {} s", CLEANUP_DEADLINE.as_secs())),
            };
            if let (Some(job_id), message) = message {
                self.append(&Event::CleanupFailed { run_id: self.request.run_id.clone(), job_id, message })?;
            }
        }
        let scratch = self.request.state.run_dir(&self.request.run_id).join("scratch");
        // Empty when every clean-up went well; else the sweep takes it.
        let _ = std::fs::remove_dir(scratch);
        Ok(())
    }
}

/// The tree that the jobs run on.
struct Frozen {
    dir: std::path::PathBuf,
    digest: Digest,
    git_head: Option<String>,
    git_dirty: bool,
    changed_files: Vec<String>,
    counts: (u64, u64, u64),
    took: Duration,
}

impl From<snapshot::Snapshot> for Frozen {
    fn from(snapshot: snapshot::Snapshot) -> Frozen {
        Frozen {
            dir: snapshot.dir,
            digest: snapshot.digest,
            git_head: snapshot.git_head,
            git_dirty: snapshot.git_dirty,
            changed_files: snapshot.changed_files,
            counts: (snapshot.files, snapshot.files_copied, snapshot.bytes_copied),
            took: snapshot.took,
        }
    }
}

impl Frozen {
    fn again(dir: std::path::PathBuf, digest: Digest, git_head: Option<String>, git_dirty: bool) -> Frozen {
        let (changed_files, counts, took) = (Vec::new(), (0, 0, 0), Duration::ZERO);
        Frozen { dir, digest, git_head, git_dirty, changed_files, counts, took }
    }

    fn event(&self, request: &RunRequest) -> Event {
        let (files, files_copied, bytes_copied) = self.counts;
        Event::SnapshotTaken {
            run_id: request.run_id.clone(),
            snapshot_dir: self.dir.to_string_lossy().into_owned(),
            snapshot_digest: self.digest.clone(),
            git_head: self.git_head.clone(),
            git_dirty: self.git_dirty,
            changed_files: self.changed_files.clone(),
            files,
            files_copied,
            bytes_copied,
            duration_ms: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Whose fault it is that a tree could not be frozen.
fn fault_of(error: &SnapshotError) -> Fault {
    use snapshot::GitFailure;
    match error {
        SnapshotError::SpecialFile { .. }
        | SnapshotError::ReservedName { .. }
        | SnapshotError::Unsteady { .. }
        | SnapshotError::Git(GitFailure::NoRepository { .. } | GitFailure::NoRevision { .. }) => Fault::Job,
        SnapshotError::Io { .. } | SnapshotError::Git(_) => Fault::Infra,
    }
}

#[cfg(test)]
mod tests;
