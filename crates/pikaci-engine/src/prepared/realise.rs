//! Has an output: finds it, waits for who builds it, or builds it.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pikaci::guest::{GuestResult, GuestStatus, LOG_BYTES_MAX, LOG_NAME, SENTINEL_NAME};
use pikaci::manifest::PathFilter;
use pikaci::{Digest, ExecutorKind, GuestExit, NixSource, OutputSpec, PreparedOutputRecord, StateRoot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claim::{self, Builder};
use super::nix::{self, NixConfig, NixError};
use super::store::{Failed, Kept, Realised, Store, new_kept, unseal};
use super::{key, payload, seal};
use crate::executor::{Attempt, Execution, Executor, Phases, Report};
use crate::snapshot::{self, remove_tree};

const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How much longer than its own deadline somebody else's build is waited for.
const WAIT_MARGIN: Duration = Duration::from_secs(600);
/// How long a failure counts that something else than the inputs may have decided, such as a registry that was away.
const FAILURE_KEPT_FOR: Duration = Duration::from_secs(3600);
/// Who waits looks whether an output is there with its lock in hand; that takes no longer than a look.
const HOLD_AGAIN_AFTER: Duration = Duration::from_millis(5);
const HOLD_PATIENCE: Duration = Duration::from_secs(10);

/// How far the attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Nothing was done for it.
    Not,
    /// A process that is gone began it; its guest may be at work still.
    Before,
}

/// What came of an attempt to have an output.
pub(crate) struct Made {
    pub(crate) execution: Execution,
    /// The output, and what the run's record says of it.
    pub(crate) output: Option<(Arc<Realised>, PreparedOutputRecord)>,
}

/// What is needed to have outputs.
pub(crate) struct Site<'a> {
    pub(crate) state: &'a StateRoot,
    pub(crate) executor: &'a dyn Executor,
    pub(crate) nix: &'a NixConfig,
    /// Whether a build that failed before is to be tried again.
    pub(crate) is_asked: bool,
    /// The outputs that this one is made with.
    pub(crate) needed: Vec<(String, Digest)>,
}

/// Has the output that an attempt's job prepares.
pub(crate) async fn realise(
    site: &Site<'_>,
    attempt: &Attempt,
    output: &OutputSpec,
    begun: Begun,
    cancel: &CancellationToken,
) -> Made {
    let mut made = have(site, attempt, output, begun, cancel).await;
    if begun == Begun::Before {
        // It may have been there already, or had from somebody else: then nobody has looked for the guest that was begun.
        let rest = site.executor.clean_up(attempt);
        let nothing = Box::pin(std::future::ready(Ok(())));
        let own = std::mem::replace(&mut made.execution.cleanup, nothing);
        made.execution.cleanup = Box::pin(async move { own.await.and(rest.await) });
    }
    made
}

async fn have(
    site: &Site<'_>,
    attempt: &Attempt,
    output: &OutputSpec,
    begun: Begun,
    cancel: &CancellationToken,
) -> Made {
    let start = Instant::now();
    let store = Store::new(site.state);
    let lost = |detail: String| Made {
        execution: without_guest(attempt, GuestExit::NoResult { detail }),
        output: None,
    };
    let key = match key_of(site, attempt, output, begun).await {
        Ok(key) => key,
        Err(detail) => return lost(detail),
    };
    attempt.host_log.line(format!("prepared output {}, key {key}", output.name));
    let had = |realised: Realised, is_hit: bool, execution: Option<Execution>| {
        // A run that was killed when it had just kept it has built it all the same.
        let is_hit = is_hit && realised.kept.run_id != attempt.run_id;
        let record = record_of(attempt, output, &realised.kept, is_hit, start.elapsed());
        let now = Timestamp::now();
        let message = is_hit.then(|| format!("built by run {}", realised.kept.run_id));
        let execution = execution.unwrap_or_else(|| {
            let (status, exit_code) = (GuestStatus::Passed, Some(0));
            let result = GuestResult { status, exit_code, started_at: now, finished_at: now, message };
            without_guest(attempt, GuestExit::Result(result))
        });
        Made { execution, output: Some((Arc::new(realised), record)) }
    };
    let builder = Builder { run: attempt.run_id.clone(), job: attempt.job.id.clone() };
    let ends_at = start + attempt.job.timeout() + WAIT_MARGIN;
    let mut has_said_so = false;
    let lock = loop {
        if let Some(realised) = store.take(&key) {
            attempt.host_log.line(format!("found: built by run {}", realised.kept.run_id));
            return had(realised, true, None);
        }
        let lock = match store.open_lock(&key) {
            Ok(lock) => lock,
            Err(error) => return lost(format!("cannot lock prepared output {key}: {error}")),
        };
        match lock.try_lock() {
            // It may have been finished just before.
            Ok(()) if store.find(&key).is_some() || !store.is_current(&key, &lock) => continue,
            Ok(()) => match claim::noted(&lock).filter(|other| *other != builder) {
                // Its guest may be at work still, and its run is about to be taken up.
                Some(other) if claim::lives_on(site.state, &other, start.elapsed()) => drop(lock),
                Some(other) => {
                    store.clear_half_made(&other.run);
                    break lock;
                }
                None => break lock,
            },
            Err(fs::TryLockError::WouldBlock) => {}
            Err(fs::TryLockError::Error(error)) => {
                return lost(format!("cannot lock prepared output {key}: {error}"));
            }
        }
        if !has_said_so {
            attempt.host_log.line("waiting: another run builds it");
            let message = format!(
                "job {}: another run builds prepared output {}; waiting",
                attempt.job.id, output.name
            );
            let _ = attempt.reports.send(Report::Notice { message }).await;
            has_said_so = true;
        }
        if Instant::now() > ends_at {
            return lost(format!("another run has been building prepared output {key} for too long"));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN_AFTER) => {}
            () = cancel.cancelled() => {
                return Made { execution: without_guest(attempt, GuestExit::Cancelled), output: None };
            }
        }
    };
    // Best effort: its order of eviction.
    let _ = lock.set_modified(std::time::SystemTime::now());
    if let Some(failed) = store.failure(&key) {
        let is_own = failed.run_id == attempt.run_id;
        let is_over = failed.expires_at.is_some_and(|at| at <= Timestamp::now());
        if is_own || !(site.is_asked || is_over) {
            show_log(&store, &key, attempt);
            let exit = failed_before(&failed, is_own);
            return Made { execution: without_guest(attempt, exit), output: None };
        }
        attempt.host_log.line(format!("its build failed in run {}; built again", failed.run_id));
    }
    if let Some(tombstone) = store.tombstones().iter().rev().find(|tombstone| tombstone.key == key) {
        attempt
            .host_log
            .line(format!("evicted at {} by rule {:?}; built again", tombstone.evicted_at, tombstone.rule));
    }
    if let Err(error) = claim::note(&lock, &builder) {
        return lost(format!("cannot write the lock of prepared output {key}: {error}"));
    }
    let building = Building { site, store: &store, attempt, output, key: &key, start };
    let built = building.build(begun, cancel).await;
    claim::clear(&lock);
    match built {
        Ok(execution) => match held(&store, &key, lock).await {
            Some(realised) => had(realised, false, Some(execution)),
            None => lost("the output was removed as soon as it was there".to_owned()),
        },
        Err(execution) => Made { execution, output: None },
    }
}

/// What an attempt builds: as its first process noted it, or as it is now.
async fn key_of(
    site: &Site<'_>,
    attempt: &Attempt,
    output: &OutputSpec,
    begun: Begun,
) -> Result<Digest, String> {
    if begun == Begun::Before
        && let Some(key) = attempt.output_dir.as_deref().and_then(claim::noted_key)
    {
        return Ok(key);
    }
    let image = site.executor.image(&attempt.job).await?;
    let snapshots = site.state.snapshots_dir();
    let found = key::key(&snapshots, &attempt.snapshot_digest, &attempt.job, output, &image, &site.needed);
    let key = found.ok_or("the list of the snapshot's files can't be read")?;
    if !key.has_inputs {
        // Not a notice: a pattern such as `rust-toolchain*` is meant for the day when there is such a file.
        attempt.host_log.line("its `inputs` meet no file of the tree: the rest of its definition decides");
    }
    Ok(key.digest)
}

/// Uses what was just built. Who waited for it may have its lock for a moment.
async fn held(store: &Store, key: &Digest, mut lock: File) -> Option<Realised> {
    let give_up_at = Instant::now() + HOLD_PATIENCE;
    loop {
        lock = match store.hold(key, lock) {
            Ok(realised) => return Some(realised),
            Err(lock) if store.find(key).is_some() && Instant::now() < give_up_at => lock,
            Err(_) => return None,
        };
        tokio::time::sleep(HOLD_AGAIN_AFTER).await;
    }
}

struct Building<'a> {
    site: &'a Site<'a>,
    store: &'a Store,
    attempt: &'a Attempt,
    output: &'a OutputSpec,
    key: &'a Digest,
    start: Instant,
}

impl Building<'_> {
    /// Builds and keeps. The error is an execution that made no output.
    async fn build(&self, begun: Begun, cancel: &CancellationToken) -> Result<Execution, Execution> {
        let Some(new) = self.attempt.output_dir.as_deref() else {
            return Err(self.lost("there is no folder to build in".to_owned()));
        };
        if begun == Begun::Not
            && let Err(error) = remove_tree(new)
        {
            return Err(self.lost(format!("cannot empty {}: {error}", new.display())));
        }
        if let Err(error) = fs::create_dir_all(new).and_then(|()| claim::note_key(new, self.key)) {
            return Err(self.lost(format!("cannot make {}: {error}", new.display())));
        }
        let picked = match self.pick(begun).await {
            Ok(picked) => picked,
            Err(error) => return Err(self.lost(format!("cannot pick the inputs: {error}"))),
        };
        let attempt = picked.as_ref().unwrap_or(self.attempt);
        let built = match &self.output.nix {
            Some(source) => self.with_nix(attempt, source, cancel).await,
            None => self.with_command(attempt, new, begun, cancel).await,
        };
        let log = self.attempt.artifacts_dir.join(LOG_NAME);
        let (mut execution, kept) = match built {
            Ok((execution, kept)) => (execution, kept),
            Err(execution) => {
                self.note_failure(&execution.exit, &log);
                self.store.drop_root(self.key);
                discard(new);
                return Err(execution);
            }
        };
        let (store, folder, log) = (self.store.clone(), new.to_owned(), log.clone());
        let keeping = tokio::task::spawn_blocking(move || store.keep(&folder, &kept, &log));
        let detail = match keeping.await {
            Ok(Ok(())) => return Ok(execution),
            Ok(Err(error)) => format!("cannot keep the output: {error}"),
            Err(error) => error.to_string(),
        };
        execution.exit = GuestExit::NoResult { detail };
        self.store.drop_root(self.key);
        discard(new);
        Err(execution)
    }

    /// The attempt on nothing but the output's inputs, when they are not all of the tree: what is no part of the key must be
    /// no part of the output, or one branch's file would be in what is found for another.
    async fn pick(&self, begun: Begun) -> io::Result<Option<Attempt>> {
        let tree = self.attempt.scratch_dir.join("inputs");
        if begun == Begun::Before && self.output.nix.is_none() {
            // Its guest has what it was given.
            return Ok(None);
        }
        let (snapshots, digest) = (self.site.state.snapshots_dir(), self.attempt.snapshot_digest.clone());
        let filter = PathFilter::new(&self.output.inputs).map_err(io::Error::other)?;
        let folder = tree.clone();
        let picking = tokio::task::spawn_blocking(move || {
            remove_tree(&folder)?;
            snapshot::pick(&snapshots, &digest, &filter, &folder)
        });
        match picking.await.map_err(io::Error::other)?? {
            Some(()) => self.attempt.on(tree).map(Some),
            None => Ok(None),
        }
    }

    fn lost(&self, detail: String) -> Execution {
        without_guest(self.attempt, GuestExit::NoResult { detail })
    }

    fn kept(&self, path: std::path::PathBuf, provider: pikaci::Provider) -> Kept {
        let mut kept = new_kept(self.key, &self.output.name, provider, &self.attempt.run_id, path);
        kept.build_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let read = payload::read(&kept.realised_path);
        (kept.payload, kept.contract_id, kept.warning) = (read.value, read.contract_id, read.warning);
        if let Some(warning) = &kept.warning {
            self.attempt.host_log.line(warning);
        }
        kept
    }

    async fn with_command(
        &self,
        attempt: &Attempt,
        new: &Path,
        begun: Begun,
        cancel: &CancellationToken,
    ) -> Result<(Execution, Kept), Execution> {
        let adopted = match begun {
            Begun::Not => Some(self.site.executor.execute(attempt, cancel).await),
            Begun::Before => self.site.executor.adopt(attempt, cancel).await,
        };
        let Some(mut execution) = adopted else {
            return Err(
                self.lost("interrupted: the pikaci that built it is gone, and so is its guest".to_owned())
            );
        };
        let has_passed =
            matches!(&execution.exit, GuestExit::Result(result) if result.status == GuestStatus::Passed);
        if !has_passed {
            return Err(execution);
        }
        let out = Store::out_in(new);
        let (name, key, folder) = (self.output.name.clone(), self.key.clone(), out.clone());
        let sealing = tokio::task::spawn_blocking(move || seal::seal(&folder, &name, &key));
        let bytes = match sealing.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => {
                execution.exit = blamed(&execution.exit, error.to_string(), error.is_infra());
                return Err(execution);
            }
            Err(error) => {
                execution.exit = GuestExit::NoResult { detail: error.to_string() };
                return Err(execution);
            }
        };
        let mut kept = self.kept(out, pikaci::Provider::Command);
        kept.closure_bytes = bytes;
        Ok((execution, kept))
    }

    async fn with_nix(
        &self,
        attempt: &Attempt,
        source: &NixSource,
        cancel: &CancellationToken,
    ) -> Result<(Execution, Kept), Execution> {
        let started_at = Timestamp::now();
        if let Err(error) = fs::create_dir_all(&self.attempt.artifacts_dir) {
            return Err(self.lost(format!("cannot make {}: {error}", self.attempt.artifacts_dir.display())));
        }
        let log = self.attempt.artifacts_dir.join(LOG_NAME);
        let ends_at = Instant::now() + self.attempt.job.timeout();
        let snapshot = &attempt.snapshot_dir;
        // To the flake, its own content would be another with each tree.
        if attempt.snapshot_dir.starts_with(&attempt.scratch_dir) {
            let _ = fs::remove_file(snapshot.join(SENTINEL_NAME));
        }
        let (config, log_bytes_max) = (self.site.nix, LOG_BYTES_MAX);
        let call = nix::Call { config, snapshot, log: &log, log_bytes_max, ends_at, cancel };
        let built = match self.store.root(self.key) {
            Ok(root) => nix::build(&call, source, &self.output.name, &root).await,
            Err(error) => {
                Err(NixError::Infra { message: format!("cannot make the folder of roots: {error}") })
            }
        };
        // What the executor does for guests.
        let _ = remove_tree(&attempt.scratch_dir);
        let result = |status, exit_code, message| {
            GuestExit::Result(GuestResult {
                status,
                exit_code,
                started_at,
                finished_at: Timestamp::now(),
                message,
            })
        };
        let (exit, built) = match built {
            Ok(built) => (result(GuestStatus::Passed, Some(0), None), Some(built)),
            Err(NixError::Job { exit_code, message }) => {
                (result(GuestStatus::Failed, exit_code, Some(message)), None)
            }
            Err(NixError::TimedOut) => {
                let message = format!("stopped at its deadline of {} s", self.attempt.job.timeout_secs);
                (result(GuestStatus::TimedOut, None, Some(message)), None)
            }
            Err(NixError::Infra { message }) => (GuestExit::NoResult { detail: message }, None),
            Err(NixError::Cancelled) => (GuestExit::Cancelled, None),
        };
        let execution = without_guest(self.attempt, exit);
        let Some(built) = built else { return Err(execution) };
        let mut kept = self.kept(built.path, pikaci::Provider::Nix);
        (kept.closure, kept.closure_bytes, kept.witness) =
            (built.closure, built.closure_bytes, built.witness);
        Ok((execution, kept))
    }

    /// Whether nothing but what the key knows can have decided: no network, no tools of the host, no fetching by Nix.
    fn is_closed(&self) -> bool {
        self.output.provider == pikaci::Provider::Command
            && !self.attempt.job.network
            && self.site.executor.kind() != ExecutorKind::HostLocal
    }

    /// Keeps a failure that is the project's own: the same inputs would fail again.
    fn note_failure(&self, exit: &GuestExit, log: &Path) {
        let GuestExit::Result(result) = exit else { return };
        // A deadline that is too short says nothing about the inputs.
        if result.status != GuestStatus::Failed {
            return;
        }
        let failed = Failed {
            key: self.key.clone(),
            name: self.output.name.clone(),
            run_id: self.attempt.run_id.clone(),
            at: Timestamp::now(),
            exit_code: result.exit_code,
            message: result.message.clone(),
            expires_at: (!self.is_closed()).then(|| Timestamp::now() + FAILURE_KEPT_FOR),
        };
        if let Err(error) = self.store.keep_failure(&failed, log) {
            self.attempt.host_log.line(format!("cannot keep the failure: {error}"));
        }
    }
}

/// The same end, but for an output that is none.
fn blamed(exit: &GuestExit, message: String, is_infra: bool) -> GuestExit {
    match exit {
        GuestExit::Result(result) if !is_infra => GuestExit::Result(GuestResult {
            status: GuestStatus::Failed,
            // The command's own would read as if it had failed with it.
            exit_code: None,
            message: Some(message),
            ..result.clone()
        }),
        _ => GuestExit::NoResult { detail: message },
    }
}

fn failed_before(failed: &Failed, is_own: bool) -> GuestExit {
    let why = failed.message.as_deref().map_or_else(String::new, |message| format!(" ({message})"));
    let until =
        failed.expires_at.map_or_else(String::new, |at| format!(", and is not tried again before {at:.0}"));
    let again = format!(
        "its build failed in run {run} at {:.0}{why}{until}; what it is made from is the same. `pikaci rerun {run} --failed` has it \
         built again at once",
        failed.at,
        run = failed.run_id
    );
    // A run that was killed when it had just noted it has this failure itself.
    let message = if is_own { failed.message.clone() } else { Some(again) };
    let (status, now) = (GuestStatus::Failed, Timestamp::now());
    let (started_at, finished_at, exit_code) = (now, now, failed.exit_code);
    GuestExit::Result(GuestResult { status, exit_code, started_at, finished_at, message })
}

/// Has the log of a build that failed before be the log of this attempt too. Best effort.
fn show_log(store: &Store, key: &Digest, attempt: &Attempt) {
    let (Some(log), shown) = (store.log(key), attempt.artifacts_dir.join(LOG_NAME)) else { return };
    let made = fs::create_dir_all(&attempt.artifacts_dir);
    if made
        .and_then(|()| fs::hard_link(&log, &shown).or_else(|_| fs::copy(&log, &shown).map(|_| ())))
        .is_err()
    {
        attempt.host_log.line(format!("its log is {}", log.display()));
    }
}

fn discard(new: &Path) {
    unseal(new);
    // What is left of it is found by the next collection.
    let _ = remove_tree(new);
}

fn without_guest(attempt: &Attempt, exit: GuestExit) -> Execution {
    let record = Phases::new(attempt, "prepared").finish();
    Execution { exit, record, cleanup: Box::pin(std::future::ready(Ok(()))) }
}

fn record_of(
    attempt: &Attempt,
    output: &OutputSpec,
    kept: &Kept,
    is_hit: bool,
    took: Duration,
) -> PreparedOutputRecord {
    PreparedOutputRecord {
        node_id: format!("prepared/{}", output.name),
        provider: output.provider.as_str().to_owned(),
        realised_path: kept.realised_path.to_string_lossy().into_owned(),
        mount: output.mount.clone(),
        payload: kept.payload.clone(),
        key: Some(kept.key.clone()),
        is_hit: Some(is_hit),
        closure_bytes: Some(kept.closure_bytes),
        closure: kept.closure.iter().map(|store| store.path.to_string_lossy().into_owned()).collect(),
        contract_id: kept.contract_id.clone(),
        duration_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        log: Some(format!("prepared/{}/build.log", kept.key)),
        warning: kept
            .warning
            .clone()
            .or_else(|| (attempt.number > 1).then(|| format!("it took {} attempts", attempt.number))),
    }
}
