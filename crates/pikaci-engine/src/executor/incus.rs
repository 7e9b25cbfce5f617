//! Runs jobs in fresh Incus instances, with their inputs as shared read-only device mounts.
//!
//! One strategy only: nothing is copied into a guest. The command runs under `pikaci-incus-run`, detached from whoever
//! started it, so that a restart of this program or of Incus costs no job: the log is followed by offset over a connection
//! that may drop, and an attempt that was begun by another process is adopted.
//!
//! Invariants: an instance carries its `user.pikaci.*` keys from its first moment, so that a sweep can find it; the verdict
//! waits for no deletion; a deletion counts when the instance is seen to be gone.

pub mod check;
mod collect;
mod context;
mod contract;
mod devices;
pub mod doctor;
mod follow;
mod image;
mod launch;
mod output;
mod owner;
pub mod pool;
mod runtime;
mod settings;
pub mod setup;
mod sweep;

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use incus_client::{Client, Error, Instance};
use pikaci::record::phase;
use pikaci::{ExecutorKind, GuestExit, JobId, JobSpec, RemoteLinuxVmImageRecord, RunId};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub use context::{Mount, RemoteLinuxVmContext};
pub use devices::configure_remote_incus_devices;
pub use image::load_remote_incus_image_record;
pub use launch::build_remote_incus_launch_command;
pub use owner::owner_id;
pub use runtime::{Making, ensure_remote_incus_runtime};
pub use settings::{IncusSettings, PoolSettings};
pub use sweep::{Orphan, sweep};

use crate::described::described;

use super::{Attempt, Boxed, Execution, Executor, Phases, Report};
use follow::Follower;
use image::Images;
use output::TakeError;

/// How long the deletion of an instance may take before it is left to the next sweep.
const DELETE_DEADLINE: Duration = Duration::from_secs(50);
/// How long a deletion waits for a server that is away.
const AWAY_PATIENCE: Duration = Duration::from_secs(15);
/// How long taking in the artifacts may take.
const COLLECT_DEADLINE: Duration = Duration::from_secs(120);
/// How long an output may take on its way out of its guest.
const OUTPUT_DEADLINE: Duration = Duration::from_secs(3600);
/// Between two looks for an instance, while the server is away.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long that goes on when the run was cancelled.
const CANCEL_PATIENCE: Duration = Duration::from_secs(4);
/// How long a verdict waits to be told what its instance was made from. It was asked when the job began.
const IMAGE_PATIENCE: Duration = Duration::from_millis(500);

/// Runs jobs in Incus instances.
#[derive(Debug)]
pub struct IncusExecutor {
    client: Client,
    settings: IncusSettings,
    images: Images,
    /// An idle instance that the check came across.
    seen: Arc<pool::Seen>,
    facts: tokio::sync::OnceCell<check::Facts>,
    has_warned: AtomicBool,
    /// One top-up at a time: two would both make what is missing.
    topping_up: Arc<Mutex<()>>,
}

impl IncusExecutor {
    /// An executor on the server that the settings name. Nothing is sent yet.
    pub fn new(settings: IncusSettings) -> IncusExecutor {
        let client = settings.client();
        let (images, seen) = (Images::default(), Arc::new(pool::Seen::default()));
        let facts = tokio::sync::OnceCell::new();
        let (has_warned, topping_up) = (AtomicBool::new(false), Arc::default());
        IncusExecutor { client, settings, images, seen, facts, has_warned, topping_up }
    }

    /// The server, seen through the project of the jobs.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl Executor for IncusExecutor {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::RemoteLinuxVm
    }

    fn check<'a>(&'a self, jobs: &'a [JobSpec]) -> Boxed<'a, Vec<String>> {
        Box::pin(async move {
            let first_image = jobs.first().map_or("", |job| job.image.as_str());
            let ((reasons, facts), ()) = tokio::join!(
                check::check(&self.client, &self.settings, &self.images, jobs),
                self.seen.look(&self.client, &self.settings, &self.images, first_image),
            );
            let _ = self.facts.set(facts);
            reasons
        })
    }

    fn remember_image(&self, image: &RemoteLinuxVmImageRecord) {
        if image.project == self.client.project()
            && let Some(fingerprint) = &image.fingerprint
        {
            self.images.remember(&image.alias, fingerprint);
        }
    }

    fn image<'a>(&'a self, job: &'a JobSpec) -> Boxed<'a, Result<String, String>> {
        Box::pin(async move {
            let found = self.images.resolve(&self.client, &job.image).await;
            found.map_err(|error| format!("cannot resolve {}: {}", job.image, described(&error)))
        })
    }

    fn execute<'a>(&'a self, attempt: &'a Attempt, cancel: &'a CancellationToken) -> Boxed<'a, Execution> {
        Box::pin(async move {
            let mut phases = Phases::new(attempt, "incus");
            let making = Making::default();
            let (exit, left) = self.fresh(attempt, &mut phases, cancel, &making).await;
            self.ended(attempt, phases, exit, left, making)
        })
    }

    fn adopt<'a>(
        &'a self,
        attempt: &'a Attempt,
        cancel: &'a CancellationToken,
    ) -> Boxed<'a, Option<Execution>> {
        Box::pin(async move {
            let context = match self.look_for(attempt, cancel).await {
                Ok(Some(instance)) => self.context(attempt, String::new(), instance.name),
                Ok(None) => return None,
                Err(detail) => {
                    attempt.host_log.line(&detail);
                    let phases = Phases::new(attempt, "incus");
                    let exit = if cancel.is_cancelled() {
                        GuestExit::Cancelled
                    } else {
                        GuestExit::NoResult { detail }
                    };
                    return Some(self.ended(attempt, phases, exit, Left::Unknown, Making::default()));
                }
            };
            attempt.host_log.line(format!("taken up again: instance {}", context.instance));
            let mut phases = Phases::new(attempt, "incus");
            let exit = self.attached(attempt, &context, &mut phases, cancel, true).await;
            Some(self.ended(attempt, phases, exit, Left::Instance(context.instance), Making::default()))
        })
    }

    fn clean_up(&self, attempt: &Attempt) -> Boxed<'static, Result<(), String>> {
        let (phases, exit) = (Phases::new(attempt, "incus"), GuestExit::Cancelled);
        self.ended(attempt, phases, exit, Left::Unknown, Making::default()).cleanup
    }
}

/// What an attempt leaves to be deleted.
enum Left {
    Nothing,
    /// This one.
    Instance(String),
    /// Whatever carries the attempt's keys: it ended while it was getting an instance.
    Unknown,
}

impl IncusExecutor {
    fn context(&self, attempt: &Attempt, fingerprint: String, instance: String) -> RemoteLinuxVmContext {
        RemoteLinuxVmContext::new(&self.settings, attempt, fingerprint, instance)
    }

    /// The instance of an attempt that another process began. A server that is away is waited for: were the job tried again
    /// meanwhile, it would run twice at once.
    async fn look_for(
        &self,
        attempt: &Attempt,
        cancel: &CancellationToken,
    ) -> Result<Option<Instance>, String> {
        let mut give_up_at = Instant::now() + self.settings.boot_deadline;
        let (mut is_cancelled, mut reason) = (false, "the server does not answer".to_owned());
        loop {
            let looked = async {
                let found = sweep::find(&self.client, attempt).await;
                if found.as_ref().is_err_and(Error::is_transport) {
                    sleep(LOOK_EVERY).await;
                }
                found
            };
            tokio::select! {
                found = looked => match found {
                    Err(error) if error.is_transport() => reason = described(&error),
                    found => {
                        return found.map_err(|error| format!("cannot look for the instance: {}", described(&error)));
                    }
                },
                () = sleep_until(give_up_at) => return Err(format!("cannot look for the instance: {reason}")),
                () = cancel.cancelled(), if !is_cancelled => {
                    is_cancelled = true;
                    give_up_at = Instant::now() + CANCEL_PATIENCE;
                }
            }
        }
    }

    /// Makes a guest and runs the job in it. Returns the fact to be judged, and what is left to be deleted.
    async fn fresh(
        &self,
        attempt: &Attempt,
        phases: &mut Phases<'_>,
        cancel: &CancellationToken,
        making: &Making,
    ) -> (GuestExit, Left) {
        self.warn(attempt).await;
        let artifacts = &attempt.artifacts_dir;
        let made = phases.run(phase::PREPARE_DIRECTORIES, async { fs::create_dir_all(artifacts) }).await;
        if let Err(error) = made {
            return (
                GuestExit::NoResult { detail: format!("cannot make {}: {error}", artifacts.display()) },
                Left::Nothing,
            );
        }
        let staged = phases.run(phase::STAGE_WORKSPACE_SNAPSHOT, self.stage(attempt)).await;
        let (fingerprint, name) = match staged {
            Ok(staged) => staged,
            Err(detail) => return (GuestExit::NoResult { detail }, Left::Nothing),
        };
        if let Some(message) = contract::mismatch(&self.client, &fingerprint, attempt).await {
            return (contract::refused(message), Left::Nothing);
        }
        let context = self.context(attempt, fingerprint, name);
        let ready = phases.run(phase::PREPARE_RUNTIME, async {
            tokio::select! {
                ready = ensure_remote_incus_runtime(
                    &self.client, &self.settings, attempt, context.clone(), making, &self.seen,
                ) => {
                    ready.map_err(|error| GuestExit::NoResult {
                        detail: format!("cannot have an instance: {}", described(&error)),
                    })
                }
                () = cancel.cancelled() => Err(GuestExit::Cancelled),
            }
        });
        let context = match ready.await {
            Ok(context) => context,
            // Half of one may be there, or one of the pool be taken.
            Err(exit) => return (exit, Left::Unknown),
        };
        let exit = self.attached(attempt, &context, phases, cancel, false).await;
        (exit, Left::Instance(context.instance))
    }

    /// What the instance is made from, and its name.
    async fn stage(&self, attempt: &Attempt) -> Result<(String, String), String> {
        let snapshot = &attempt.snapshot_dir;
        fs::metadata(snapshot).map_err(|error| format!("cannot find {}: {error}", snapshot.display()))?;
        let image = &attempt.job.image;
        let found = self.images.resolve(&self.client, image).await;
        let fingerprint = found.map_err(|error| format!("cannot resolve {image}: {}", described(&error)))?;
        Ok((fingerprint, context::instance_name(&attempt.run_id, &attempt.job.id, attempt.number)))
    }

    /// Runs the job in an instance that is there, or takes up one that runs already, and takes in what it leaves.
    async fn attached(
        &self,
        attempt: &Attempt,
        context: &RemoteLinuxVmContext,
        phases: &mut Phases<'_>,
        cancel: &CancellationToken,
        is_adopted: bool,
    ) -> GuestExit {
        let opened = Follower::open(&self.client, attempt, context, is_adopted);
        let mut follower = match opened {
            Ok(follower) => follower,
            Err(error) => {
                return GuestExit::NoResult { detail: format!("cannot write the job's log: {error}") };
            }
        };
        if !is_adopted {
            let launched = phases.run(phase::LAUNCH_GUEST, follower.launch(cancel)).await;
            if let Err(exit) = launched {
                return exit;
            }
        }
        // Asked while the job runs: it is of no use to the job.
        let asking = self.ask_for_image(context, attempt);
        let waiting = async { Ok::<_, Infallible>(follower.wait(cancel).await) };
        let Ok(exit) = phases.run(phase::WAIT_FOR_COMPLETION, waiting).await;
        phases.set_incus_image(asking.await);
        phases.set_storage_driver(self.facts.get().and_then(|facts| facts.storage_driver.clone()));
        let has_passed =
            matches!(&exit, GuestExit::Result(result) if result.status == pikaci::guest::GuestStatus::Passed);
        if let Some(out) = attempt.out()
            && has_passed
        {
            let taking = async {
                let late = || TakeError::Infra(format!("not done within {} s", OUTPUT_DEADLINE.as_secs()));
                tokio::select! {
                    taken = output::take(&self.client, &context.instance, &out) => taken.map(Some),
                    () = tokio::time::sleep(OUTPUT_DEADLINE) => Err(late()),
                    () = cancel.cancelled() => Ok(None),
                }
            };
            match phases.run("collect_output", taking).await {
                Ok(Some(taken)) => attempt.host_log.line(taken),
                Ok(None) => return GuestExit::Cancelled,
                Err(TakeError::Job(reason)) => return contract::refused(reason),
                Err(TakeError::Infra(error)) => {
                    return GuestExit::NoResult { detail: format!("the output can't be had: {error}") };
                }
            }
        }
        if matches!(exit, GuestExit::Result(_)) && collect::has_declared(&attempt.job) {
            let collecting = async {
                tokio::select! {
                    collected = within(COLLECT_DEADLINE, collect::collect(&self.client, &context.instance, attempt)) => collected,
                    () = cancel.cancelled() => Err("the run was cancelled".to_owned()),
                }
            };
            // What can't be had changes no verdict.
            if let Err(error) = phases.run(phase::COLLECT_ARTIFACTS, collecting).await {
                attempt.host_log.line(format!("artifacts: {error}"));
                let message = format!("job {}: its artifacts are not complete: {error}", attempt.job.id);
                let _ = attempt.reports.send(Report::Notice { message }).await;
            }
        }
        exit
    }

    /// Begins to ask what the instance was made from. The answer is waited for a moment, no longer.
    fn ask_for_image(
        &self,
        context: &RemoteLinuxVmContext,
        attempt: &Attempt,
    ) -> impl Future<Output = RemoteLinuxVmImageRecord> + use<> {
        let (client, context) = (self.client.clone(), context.clone());
        let (project, alias) = (client.project().to_owned(), attempt.job.image.clone());
        let asked = alias.clone();
        let asking =
            tokio::spawn(async move { load_remote_incus_image_record(&client, &context, &asked).await });
        async move {
            let stop = asking.abort_handle();
            match tokio::time::timeout(IMAGE_PATIENCE, asking).await {
                Ok(Ok(record)) => record,
                Ok(Err(_)) | Err(_) => {
                    stop.abort();
                    let message = Some("the server did not say in time".to_owned());
                    RemoteLinuxVmImageRecord { project, alias, fingerprint: None, message }
                }
            }
        }
    }

    /// Wraps up: the verdict's fact at once, the deletion for later.
    fn ended(
        &self,
        attempt: &Attempt,
        phases: Phases<'_>,
        exit: GuestExit,
        left: Left,
        making: Making,
    ) -> Execution {
        let client = self.client.with_deadline(DELETE_DEADLINE);
        let (settings, image) = (self.settings.clone(), attempt.job.image.clone());
        let (scratch, topping_up) = (attempt.scratch_dir.clone(), Arc::clone(&self.topping_up));
        let (run, job, number) = (attempt.run_id.clone(), attempt.job.id.clone(), attempt.number);
        let cleanup = Box::pin(async move {
            making.settle(DELETE_DEADLINE).await;
            let deleted = match left {
                Left::Nothing => Ok(()),
                Left::Instance(name) => delete(&client, &name).await,
                Left::Unknown => delete_of_attempt(&client, &run, &job, number).await,
            };
            let _alone = topping_up.lock().await;
            let filled = pool::top_up_image(&client, &settings, &image).await;
            let filled =
                filled.map_err(|error| format!("cannot top up the pool of {image}: {}", described(&error)));
            let removed = remove_scratch(&scratch);
            deleted.and(filled.map(|_| ())).and(removed)
        });
        Execution { exit, record: phases.finish(), cleanup }
    }

    /// Says once a run what is slower here than it could be.
    async fn warn(&self, attempt: &Attempt) {
        let warnings = self.facts.get().map(|facts| facts.warnings.clone()).unwrap_or_default();
        if warnings.is_empty() || self.has_warned.swap(true, Ordering::Relaxed) {
            return;
        }
        for message in warnings {
            attempt.host_log.line(&message);
            let _ = attempt.reports.send(Report::Notice { message }).await;
        }
    }
}

async fn delete(client: &Client, name: &str) -> Result<(), String> {
    asked_again(|| client.destroy_instance(name)).await.map_err(|error| {
        format!("cannot delete instance {name}: {}; `pikaci sweep` tries again", described(&error))
    })
}

/// Asks a server that is away again, for a while.
async fn asked_again<T, F: Future<Output = Result<T, Error>>>(ask: impl Fn() -> F) -> Result<T, Error> {
    let give_up_at = Instant::now() + AWAY_PATIENCE;
    loop {
        match ask().await {
            Err(error) if runtime::is_away(&error) && Instant::now() < give_up_at => sleep(LOOK_EVERY).await,
            answer => return answer,
        }
    }
}

async fn delete_of_attempt(client: &Client, run: &RunId, job: &JobId, number: u32) -> Result<(), String> {
    let found = asked_again(|| sweep::list_of_attempt(client, run, job, number)).await;
    let found = found.map_err(|error| {
        format!("cannot look for instances of job {job}: {}; `pikaci sweep` tries again", described(&error))
    })?;
    let mut deleted = Ok(());
    for instance in found {
        deleted = deleted.and(delete(client, &instance.name).await);
    }
    deleted
}

fn remove_scratch(scratch: &Path) -> Result<(), String> {
    match fs::symlink_metadata(scratch) {
        Err(_) => Ok(()),
        Ok(_) => crate::snapshot::remove_tree(scratch)
            .map_err(|error| format!("cannot remove {}: {error}", scratch.display())),
    }
}

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| Err(format!("not done within {} s", deadline.as_secs())))
}

#[cfg(test)]
pub(crate) mod tests;
