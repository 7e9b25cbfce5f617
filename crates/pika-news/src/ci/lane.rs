//! One lane run, from its claim to its stored outcome: spawn or adopt, follow, settle.
//!
//! Invariants: the outcome comes from the run's record; whoever settles a lane run holds its claim; a hiccup of the
//! database ends no healthy lane before its lease is really at risk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pikaci::{Fault, Outcome, RunRecord, RunStatus, StoreError as RunStoreError};
use rustix::process::Signal;
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::process::{self, Invocation, Process};
use super::schedule::LiveLane;
use super::{Ci, Live};
use crate::config::as_size;
use crate::forge::view::Change;
use crate::forge::{Forge, Hosted, is_repeatable};
use crate::metrics;
use crate::store::{Finish, LaneRunJob};

/// Between TERM and KILL; with it, a cancelled lane is gone within five seconds.
const GRACE: Duration = Duration::from_millis(4500);
/// How long the database may take over a heartbeat.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(2);
/// How often a lane's standard error is kept from filling the disk.
const BOUND_STDERR_EVERY: Duration = Duration::from_secs(1);
/// How long `pikaci sweep` may take.
const SWEEP_DEADLINE: Duration = Duration::from_secs(60);
/// How long `pikaci gc` may take.
const COLLECT_DEADLINE: Duration = Duration::from_secs(1800);
/// Between two tries to store an outcome.
const STORE_PAUSE: Duration = Duration::from_millis(250);
/// The pause before the first retry of what the machinery lost; each further one is four times as long.
const RETRY_PAUSE_MS: i64 = 1000;

/// How often the run's record is looked at while its process goes on.
const LOOK_FOR_VERDICT_EVERY: Duration = Duration::from_millis(50);

/// How a lane run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// It was claimed just now.
    Spawn,
    /// An earlier forge has claimed it.
    Adopt,
}

/// Removes a repository's oldest runs, and what only they needed, until the rest is within the budget.
pub(super) async fn collect(forge: &Forge, hosted: &Hosted) {
    let ci = forge.ci();
    let stderr = forge.config().data.join(format!("{}.gc.stderr", hosted.config.slug()));
    let mut arguments = vec!["gc".to_owned(), "--max-size".to_owned(), as_size(ci.config().state_bytes_max)];
    arguments.extend(forge.config().retention.arguments());
    let invocation = Invocation {
        pikaci: &ci.pikaci,
        arguments,
        folder: &hosted.config.path,
        state: &hosted.state_root,
        stderr: &stderr,
        input: None,
    };
    match process::run_to_end(&invocation, COLLECT_DEADLINE).await {
        Ok(status) if status.success() => metrics::collected(true),
        failed => {
            metrics::collected(false);
            let said = process::read_stderr(&stderr);
            tracing::warn!(repository = hosted.config.name, ?failed, said, "old runs could not be removed");
        }
    }
    let _ = std::fs::remove_file(&stderr);
}

/// Lets a lane run go, in a task of its own. It counts as alive from here on.
pub(super) fn start(forge: &Forge, hosted: &Arc<Hosted>, job: LaneRunJob, begin: Begin) {
    let cancel = CancellationToken::new();
    if job.is_cancel_requested {
        cancel.cancel();
    }
    let lane = LiveLane {
        repository_id: job.repository_id,
        group: job.group.clone(),
        label: format!("{} of {}", job.target, job.branch),
    };
    forge.ci().live().insert(job.id, Live { lane, cancel: cancel.clone() });
    let alive = Alive { forge: forge.clone(), id: job.id };
    let lane_run = LaneRun {
        forge: forge.clone(),
        hosted: Arc::clone(hosted),
        job,
        cancel,
        is_given_up: false,
        begun: Instant::now(),
    };
    forge.ci().tasks.spawn(async move {
        // Dropped when the task ends in any way, a panic included.
        let _alive = alive;
        let span = tracing::info_span!("lane", id = %lane_run.job.id, run = %lane_run.job.run_id);
        lane_run.run(begin).instrument(span).await;
    });
}

struct Alive {
    forge: Forge,
    id: crate::forge::id::LaneRunId,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.forge.ci().live().remove(&self.id);
        self.forge.ci().wake();
    }
}

/// How following a process ended.
enum End {
    /// It is gone.
    Gone(Option<ExitStatus>),
    /// The forge leaves; the process stays.
    Left,
    /// The claim is somebody else's; nothing is ours to store.
    Lost,
}

struct LaneRun {
    forge: Forge,
    hosted: Arc<Hosted>,
    job: LaneRunJob,
    cancel: CancellationToken,
    /// Whether it was stopped because its lease could not be kept.
    is_given_up: bool,
    /// When this forge began with it.
    begun: Instant,
}

impl LaneRun {
    fn ci(&self) -> &Ci {
        self.forge.ci()
    }

    fn stderr(&self) -> PathBuf {
        self.forge.config().data.join(format!("{}.stderr", self.job.run_id))
    }

    async fn run(mut self, begin: Begin) {
        self.announce();
        let process = match begin {
            Begin::Spawn => match self.spawn().await {
                Ok(process) => Some(process),
                Err(message) => return self.store(Judgement::infra(message)).await,
            },
            Begin::Adopt => process::find(&self.hosted.state_root, &self.job.run_id),
        };
        let mut end = match process {
            Some(process) => self.follow(process).await,
            None => End::Gone(None),
        };
        // What outlives its pikaci is taken up by another one: a guest in an instance of its own.
        while matches!(end, End::Gone(_)) && self.is_interrupted().await {
            self.sweep().await;
            let Some(process) = process::find(&self.hosted.state_root, &self.job.run_id) else { break };
            tracing::info!(run = %self.job.run_id, "taken up again");
            end = self.follow(process).await;
        }
        match end {
            End::Gone(status) => {
                let judgement = self.settle(status).await;
                self.store(judgement).await;
                let _ = std::fs::remove_file(self.stderr());
            }
            End::Left => tracing::info!(run = %self.job.run_id, "left running for the next start"),
            End::Lost => tracing::warn!(run = %self.job.run_id, "the claim was taken over"),
        }
    }

    /// Starts the process with the secrets that its lane gets. An error is words for the lane's page.
    async fn spawn(&self) -> Result<Process, String> {
        let given = self.forge.secrets_for(&self.hosted, &self.job).await.map_err(|error| {
            tracing::error!(%error, "the secrets of a lane could not be read");
            "the secrets of this lane could not be read; the forge's log says why".to_owned()
        })?;
        let mut parts = self.run_parts();
        if !given.is_empty() {
            let encoded: BTreeMap<&String, String> =
                given.iter().map(|(name, content)| (name, STANDARD.encode(content))).collect();
            parts.input = serde_json::to_vec(&encoded).ok();
            parts.arguments.push("--secrets-stdin".to_owned());
        }
        process::spawn(&parts.invocation()).map_err(|error| {
            let program = self.ci().pikaci.program.display();
            format!("cannot start {program}: {error}; check `pikaci` in the configuration")
        })
    }

    fn arguments(&self) -> Vec<String> {
        let job = &self.job;
        // The tree may have been removed since somebody asked.
        let repeated = job.rerun_of.as_ref().filter(|run| is_repeatable(&self.hosted.state_root, run));
        let words: Vec<&str> = match repeated {
            Some(run) if job.is_failed_only => vec!["rerun", run.as_str(), "--failed"],
            Some(run) => vec!["rerun", run.as_str()],
            None => vec!["run", &job.target, "--rev", &job.oid],
        };
        let executor = self.ci().config().executor.as_str();
        let common = ["--executor", executor, "--output", "jsonl", "--run-id", job.run_id.as_str()];
        words.into_iter().chain(common).map(str::to_owned).collect()
    }

    fn run_parts(&self) -> InvocationParts<'_> {
        InvocationParts { lane: self, arguments: self.arguments(), stderr: self.stderr(), input: None }
    }

    /// Follows a process to its end, renewing the lease and passing on a request to stop.
    async fn follow(&mut self, mut process: Process) -> End {
        let pid = process.id();
        let every = self.ci().config().lease / 4;
        let mut heartbeat = tokio::time::interval(every);
        let mut bound_stderr = tokio::time::interval(BOUND_STDERR_EVERY);
        bound_stderr.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stderr = self.stderr();
        let mut kill_at: Option<Instant> = None;
        let mut look = tokio::time::interval(LOOK_FOR_VERDICT_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut verdict = Verdict::new(&self.hosted.state_root, &self.job.run_id);
        let (cancel, leaving) = (self.cancel.clone(), self.ci().leaving.clone());
        loop {
            tokio::select! {
                biased;
                status = process.wait() => return End::Gone(status),
                () = leaving.cancelled() => return End::Left,
                () = cancel.cancelled(), if kill_at.is_none() => {
                    process.signal(Signal::TERM);
                    kill_at = Some(Instant::now() + GRACE);
                }
                // Deleting its instances takes it longer than the verdict; nobody has to wait for that.
                _ = look.tick() => if verdict.is_there() {
                    return End::Gone(None);
                },
                () = at(kill_at) => {
                    process.signal(Signal::KILL);
                    kill_at = Some(Instant::now() + GRACE);
                }
                _ = bound_stderr.tick() => if let Err(error) = process::bound_stderr(&stderr) {
                    tracing::debug!(run = %self.job.run_id, %error, "a standard error could not be bounded");
                },
                _ = heartbeat.tick() => match self.renew(Some(pid)).await {
                    Lease::Held => {}
                    Lease::AtRisk => {
                        self.is_given_up = true;
                        cancel.cancel();
                    }
                    Lease::Lost => {
                        process.signal(Signal::KILL);
                        return End::Lost;
                    }
                },
            }
        }
    }

    async fn renew(&mut self, pid: Option<u32>) -> Lease {
        let now_ms = self.forge.now_ms();
        let lease_ms = i64::try_from(self.ci().config().lease.as_millis()).unwrap_or(i64::MAX);
        let until_ms = now_ms + lease_ms;
        let renewed = self.forge.store().renew(self.job.id, &self.job.token, pid, until_ms);
        match timeout(HEARTBEAT_DEADLINE, renewed).await {
            Ok(Ok(Some(renewed))) => {
                self.job.lease_until_ms = until_ms;
                self.job.is_cancel_requested = renewed.is_cancel_requested;
                self.job.cancel_message = renewed.cancel_message;
                if self.job.is_cancel_requested {
                    self.cancel.cancel();
                }
                Lease::Held
            }
            Ok(Ok(None)) => Lease::Lost,
            failed => {
                // The next heartbeat would come too late.
                let is_at_risk = now_ms + lease_ms / 4 >= self.job.lease_until_ms;
                tracing::warn!(run = %self.job.run_id, ?failed, is_at_risk, "a lease could not be renewed");
                if is_at_risk { Lease::AtRisk } else { Lease::Held }
            }
        }
    }

    /// Whether the run was begun, is not over, and nobody writes it.
    async fn is_interrupted(&self) -> bool {
        self.load().await.is_ok_and(|record| record.status == RunStatus::Running)
    }

    /// Finds out what the run came to. One that was interrupted was swept before.
    async fn settle(&mut self, status: Option<ExitStatus>) -> Judgement {
        let record = self.load_as_seen().await;
        if self.cancel.is_cancelled() {
            // Who asked for it, and why, is in the database; a renewal learns it.
            let _ = self.renew(None).await;
        }
        let is_cancelled = self.job.is_cancel_requested;
        let stderr = process::read_stderr(&self.stderr());
        judge(
            &record,
            &Facts {
                is_cancelled,
                is_given_up: self.is_given_up,
                cancel_message: self.job.cancel_message.clone(),
                status,
                stderr,
            },
        )
    }

    async fn load(&self) -> Result<RunRecord, RunStoreError> {
        self.with_record(pikaci::store::load_stored_run_record).await
    }

    async fn load_as_seen(&self) -> Result<RunRecord, RunStoreError> {
        self.with_record(pikaci::load_run_record).await
    }

    async fn with_record(
        &self,
        load: fn(&pikaci::StateRoot, &pikaci::RunId) -> Result<RunRecord, RunStoreError>,
    ) -> Result<RunRecord, RunStoreError> {
        let (state, run) = (self.hosted.state_root.clone(), self.job.run_id.clone());
        let missing = RunStoreError::RunMissing { run: run.clone() };
        tokio::task::spawn_blocking(move || load(&state, &run)).await.unwrap_or(Err(missing))
    }

    async fn sweep(&self) {
        let parts = InvocationParts {
            lane: self,
            arguments: vec!["sweep".to_owned()],
            stderr: self.forge.config().data.join(format!("{}.sweep.stderr", self.job.run_id)),
            input: None,
        };
        match process::run_to_end(&parts.invocation(), SWEEP_DEADLINE).await {
            Ok(status) if status.success() => {}
            failed => {
                let stderr = process::read_stderr(&parts.stderr);
                tracing::warn!(run = %self.job.run_id, ?failed, stderr, "pikaci sweep failed");
            }
        }
        let _ = std::fs::remove_file(&parts.stderr);
    }

    /// Stores the outcome. Gives up when the lease is over: then somebody else settles the lane run.
    async fn store(&self, judgement: Judgement) {
        let retries = self.ci().config().infra_retries;
        let finish = Finish {
            id: self.job.id,
            token: self.job.token.clone(),
            outcome: judgement.outcome,
            fault: judgement.fault,
            message: judgement.message,
            retry_delays_ms: (0..retries).map(|tried| RETRY_PAUSE_MS << (2 * tried)).collect(),
            now_ms: self.forge.now_ms(),
        };
        loop {
            match self.forge.store().finish(finish.clone()).await {
                Ok(Some(finished)) => {
                    let (outcome, fault) = (&finish.outcome, finish.fault.as_ref());
                    metrics::lane_finished(outcome, fault, finished.attempt == 1, self.begun.elapsed());
                    break;
                }
                Ok(None) => {
                    tracing::warn!(run = %self.job.run_id, "the outcome was somebody else's to store");
                    break;
                }
                Err(error) if self.forge.now_ms() < self.job.lease_until_ms => {
                    tracing::warn!(run = %self.job.run_id, %error, "an outcome could not be stored; trying again");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(run = %self.job.run_id, %error, "an outcome could not be stored");
                    break;
                }
            }
        }
        self.announce();
    }

    fn announce(&self) {
        self.forge.announce(Change {
            repository: self.hosted.config.name.clone(),
            branch_id: self.job.branch_id,
            lane_run_id: Some(self.job.id),
        });
    }
}

/// Watches a run's record for its end.
struct Verdict {
    state: pikaci::StateRoot,
    run: pikaci::RunId,
    seen: Option<std::time::SystemTime>,
}

impl Verdict {
    fn new(state: &pikaci::StateRoot, run: &pikaci::RunId) -> Verdict {
        Verdict { state: state.clone(), run: run.clone(), seen: None }
    }

    /// Whether the record says that the run is over. Reads it only when it was replaced since the last look.
    fn is_there(&mut self) -> bool {
        let path = self.state.run_dir(&self.run).join("run.json");
        let Ok(modified) = path.metadata().and_then(|metadata| metadata.modified()) else { return false };
        if self.seen.replace(modified) == Some(modified) {
            return false;
        }
        let record = pikaci::store::load_stored_run_record(&self.state, &self.run);
        record.is_ok_and(|record| record.status != RunStatus::Running)
    }
}

struct InvocationParts<'a> {
    lane: &'a LaneRun,
    arguments: Vec<String>,
    stderr: PathBuf,
    input: Option<Vec<u8>>,
}

impl InvocationParts<'_> {
    fn invocation(&self) -> Invocation<'_> {
        Invocation {
            pikaci: &self.lane.ci().pikaci,
            arguments: self.arguments.clone(),
            folder: &self.lane.hosted.config.path,
            state: &self.lane.hosted.state_root,
            stderr: &self.stderr,
            input: self.input.clone(),
        }
    }
}

enum Lease {
    Held,
    AtRisk,
    Lost,
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What is known about a process that is gone.
struct Facts {
    is_cancelled: bool,
    is_given_up: bool,
    cancel_message: Option<String>,
    status: Option<ExitStatus>,
    stderr: String,
}

/// What a lane run came to.
#[derive(Debug, PartialEq, Eq)]
struct Judgement {
    outcome: Outcome,
    fault: Option<Fault>,
    message: Option<String>,
}

impl Judgement {
    fn infra(message: String) -> Judgement {
        Judgement { outcome: Outcome::Failed, fault: Some(Fault::Infra), message: Some(message) }
    }
}

/// Judges a lane run by its record. What finished before a stop took effect counts as what it is.
fn judge(record: &Result<RunRecord, RunStoreError>, facts: &Facts) -> Judgement {
    let judgement = match record {
        Ok(record) => judge_record(record),
        Err(RunStoreError::RunMissing { .. }) => {
            let status =
                facts.status.map_or("no longer runs".to_owned(), |status| format!("ended with {status}"));
            let said = if facts.stderr.is_empty() { String::new() } else { format!(": {}", facts.stderr) };
            Judgement::infra(format!("pikaci {status} and left no record of the run{said}"))
        }
        Err(error) => Judgement::infra(format!("the run's record can't be read: {error}")),
    };
    let is_stopped =
        matches!((&judgement.outcome, &judgement.fault), (Outcome::Cancelled, _) | (_, Some(Fault::Infra)));
    if facts.is_cancelled && is_stopped {
        let message = facts.cancel_message.clone().or(judgement.message);
        return Judgement { outcome: Outcome::Cancelled, fault: Some(Fault::User), message };
    }
    if facts.is_given_up && judgement.outcome == Outcome::Cancelled {
        return Judgement::infra("it was stopped because its claim could not be renewed in time".to_owned());
    }
    judgement
}

fn judge_record(record: &RunRecord) -> Judgement {
    let message = record.message.clone();
    match &record.status {
        RunStatus::Passed => Judgement { outcome: Outcome::Passed, fault: None, message },
        RunStatus::Skipped => Judgement { outcome: Outcome::Skipped, fault: None, message },
        RunStatus::Failed => Judgement {
            outcome: record.outcome.clone().unwrap_or(Outcome::Failed),
            fault: record.fault.clone().or(Some(Fault::Infra)),
            message,
        },
        RunStatus::Running => Judgement::infra("pikaci is gone and its run is not finished".to_owned()),
        RunStatus::Unknown(word) => {
            Judgement::infra(format!("the run is {word:?}, which this pika-news does not know; upgrade it"))
        }
    }
}

#[cfg(test)]
mod tests;
