//! Has a running instance for an attempt: one that waits for work, or a new one.

use std::sync::Arc;
use std::time::Duration;

use incus_client::{Client, Error, InstanceKind, NewInstance};
use pikaci::InstanceType;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::context::key;
use super::devices::{configure_remote_incus_devices, instance_keys};
use super::pool::{self, Seen};
use super::{Attempt, IncusSettings, RemoteLinuxVmContext, described};

const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_millis(500);
/// How long a job waits for room that others take. Its own deadline has not begun.
const ROOM_DEADLINE: Duration = Duration::from_secs(6 * 3600);
const AGENT_LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two tries, while the server is away.
const LOOK_FOR_SERVER_EVERY: Duration = Duration::from_millis(200);

/// Why there is no instance.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The server said so.
    #[error(transparent)]
    Incus(#[from] Error),
    /// The instance runs, and its agent does not answer.
    #[error("instance {instance}: no command could be run in it within {} s of its start", after.as_secs())]
    NotReady {
        /// The instance.
        instance: String,
        /// The deadline.
        after: Duration,
    },
}

/// Returns when commands can be run in the attempt's instance. The context names the instance that it became: one of the
/// pool has a name of its own.
///
/// `seen` may hold an idle instance that was found before. Waits for room while the project is at its limit, and for a server
/// that is away as long as an instance may take to boot. When it fails, or is dropped, something may be left that carries the
/// attempt's keys: ask [`Making::settle`] first, then look for it.
pub async fn ensure_remote_incus_runtime(
    client: &Client,
    settings: &IncusSettings,
    attempt: &Attempt,
    mut context: RemoteLinuxVmContext,
    making: &Making,
    seen: &Arc<Seen>,
) -> Result<RemoteLinuxVmContext, RuntimeError> {
    if let Some(taken) = making.take(client, settings, &attempt.job.image, &context, seen).await {
        attempt.host_log.line(format!("took the waiting instance {}", taken.instance));
        (context.instance, context.base_image) = (taken.instance, taken.base_image);
        ready(client, &context).await?;
        return Ok(context);
    }
    create(client, settings, attempt, &context, making).await?;
    attempt.host_log.line(format!("made instance {} of image {}", context.instance, context.fingerprint));
    ready(client, &context).await?;
    Ok(context)
}

async fn create(
    client: &Client,
    settings: &IncusSettings,
    attempt: &Attempt,
    context: &RemoteLinuxVmContext,
    making: &Making,
) -> Result<(), RuntimeError> {
    let mut instance = new_instance(client, context).await?;
    let client = client.with_deadline(context.boot_deadline);
    let (start, mut has_waited) = (Instant::now(), false);
    let mut away_since = None;
    loop {
        // The time that it waited for room is none of the instance's.
        let deadline = context.deadline.saturating_add(start.elapsed()).unwrap_or(context.deadline);
        instance.config.insert(key::DEADLINE.to_owned(), deadline.as_second().to_string());
        let refused = match making.create(&client, &instance).await {
            Ok(()) => return Ok(()),
            // An earlier try of ours whose answer was lost, or the server's restart in the middle of it.
            Err(Error::Conflict { .. } | Error::OperationForgotten { .. })
                if is_running(&client, &context.instance).await =>
            {
                return Ok(());
            }
            // It is being restarted, say. Were this attempt given up, the next one would be too late, or too early as well.
            Err(error) if is_away(&error) => {
                let since = *away_since.get_or_insert_with(|| {
                    attempt.host_log.line(format!("waiting for the server: {}", described(&error)));
                    Instant::now()
                });
                if since.elapsed() > context.boot_deadline {
                    return Err(error.into());
                }
                sleep(LOOK_FOR_SERVER_EVERY).await;
                continue;
            }
            // What it was making when it went is half an instance, and ours: in the way under whatever name the error has.
            Err(_)
                if away_since.is_some_and(|since: Instant| since.elapsed() <= context.boot_deadline)
                    && clear_half_made(&client, &context.instance).await =>
            {
                continue;
            }
            Err(error) => error,
        };
        // No reason is read from words: if the project is full, that was it.
        let Some(full) = find_full(&client, &Need::of(context)).await else { return Err(refused.into()) };
        if start.elapsed() > ROOM_DEADLINE {
            return Err(refused.into());
        }
        if !has_waited {
            attempt.host_log.line(format!("waiting for room in project {}: {full}", client.project()));
            has_waited = true;
        }
        // What only waits for work makes room for work.
        if !pool::drop_one(&client, settings, Some(&context.fingerprint)).await {
            sleep(LOOK_FOR_ROOM_EVERY).await;
        }
    }
}

/// The making of an instance, or its taking out of a pool. Incus goes on with it when nobody waits any more, and so does
/// this: whoever deletes the instance waits for its end first.
#[derive(Clone, Debug, Default)]
pub struct Making(Arc<Mutex<()>>);

impl Making {
    async fn create(&self, client: &Client, instance: &NewInstance) -> Result<(), Error> {
        let (client, instance) = (client.clone(), instance.clone());
        let what = instance.name.clone();
        let made = self.go_on(async move { client.create_instance(&instance).await }).await;
        made.unwrap_or_else(|error| Err(Error::Dropped { what, source: Box::new(error) }))
    }

    async fn take(
        &self,
        client: &Client,
        settings: &IncusSettings,
        image: &str,
        context: &RemoteLinuxVmContext,
        seen: &Arc<Seen>,
    ) -> Option<pool::Taken> {
        if !settings.pools.contains_key(image) {
            return None;
        }
        let (client, settings) = (client.clone(), settings.clone());
        let (image, context, seen) = (image.to_owned(), context.clone(), Arc::clone(seen));
        self.go_on(async move { pool::take(&client, &settings, &image, &context, &seen).await }).await.ok()?
    }

    async fn go_on<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        let going_on = Arc::clone(&self.0).lock_owned().await;
        tokio::spawn(async move {
            let done = work.await;
            drop(going_on);
            done
        })
        .await
    }

    /// Returns when nothing is being made or taken, or when it took too long.
    pub(crate) async fn settle(&self, deadline: Duration) {
        let _ = tokio::time::timeout(deadline, self.0.lock()).await;
    }
}

async fn new_instance(client: &Client, context: &RemoteLinuxVmContext) -> Result<NewInstance, Error> {
    let mut instance =
        NewInstance::new(kind(context.kind), &context.instance, &context.fingerprint).started();
    instance.ephemeral = true;
    instance.profiles = vec![context.profile.clone()];
    instance.config = instance_keys(context);
    instance.devices = configure_remote_incus_devices(context);
    if let Some(bytes) = context.disk_bytes {
        // The profile's root disk, with another size.
        let profile = client.profile(&context.profile).await?.value;
        let root = profile.devices.iter().find(|(_, keys)| keys.get("path").is_some_and(|path| path == "/"));
        if let Some((name, keys)) = root {
            let mut keys = keys.clone();
            keys.insert("size".to_owned(), bytes.to_string());
            instance.devices.insert(name.clone(), keys);
        }
    }
    Ok(instance)
}

pub(crate) fn kind(kind: InstanceType) -> InstanceKind {
    match kind {
        InstanceType::Container => InstanceKind::Container,
        InstanceType::VirtualMachine => InstanceKind::VirtualMachine,
    }
}

/// Whether the server is not there, rather than slow.
pub(crate) fn is_away(error: &Error) -> bool {
    matches!(error, Error::Unreachable { .. } | Error::Dropped { .. })
}

/// Deletes an instance that does not run. Returns whether there was one, and it is gone.
async fn clear_half_made(client: &Client, instance: &str) -> bool {
    let found = client.instance(instance).await;
    found.is_ok_and(|found| !found.value.is_running()) && client.destroy_instance(instance).await.is_ok()
}

async fn is_running(client: &Client, instance: &str) -> bool {
    client.instance(instance).await.is_ok_and(|found| found.value.is_running())
}

/// What one more instance takes of a project.
pub(crate) struct Need {
    pub(crate) kind: InstanceType,
    pub(crate) cpus: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) processes_max: u32,
    /// `None`: what the profile says.
    pub(crate) disk_bytes: Option<u64>,
}

impl Need {
    fn of(context: &RemoteLinuxVmContext) -> Need {
        let RemoteLinuxVmContext { kind, cpus, memory_bytes, processes_max, disk_bytes, .. } = *context;
        Need { kind, cpus, memory_bytes, processes_max, disk_bytes }
    }
}

/// What the project has too little of for one more such instance, and would have enough of when others are gone; for
/// people.
pub(crate) async fn find_full(client: &Client, need: &Need) -> Option<String> {
    let state = client.project_state(client.project()).await.ok()?;
    let of_kind = match need.kind {
        InstanceType::Container => "containers",
        InstanceType::VirtualMachine => "virtual-machines",
    };
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let wanted = [
        ("instances", 1),
        (of_kind, 1),
        ("cpu", i64::from(need.cpus)),
        ("memory", bytes(need.memory_bytes)),
        ("processes", i64::from(need.processes_max)),
        ("disk", need.disk_bytes.map_or(1, bytes)),
    ];
    wanted.into_iter().find_map(|(resource, wanted)| {
        let usage = state.resources.get(resource)?;
        let is_full = usage.limit > 0 && usage.usage > 0 && usage.usage.saturating_add(wanted) > usage.limit;
        is_full.then(|| format!("{} of {} {resource} in use", usage.usage, usage.limit))
    })
}

/// Waits until commands can be run: in a container at once, in a virtual machine when its agent answers.
pub(crate) async fn ready(client: &Client, context: &RemoteLinuxVmContext) -> Result<(), RuntimeError> {
    if context.kind == InstanceType::Container {
        return Ok(());
    }
    let start = Instant::now();
    loop {
        // Without its agent, the number of processes is -1 (instance_drivers/driver_qemu.go, RenderState).
        match client.instance_state(&context.instance).await {
            Ok(state) if state.processes > 0 => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is_transport() => {}
            Err(error) => return Err(error.into()),
        }
        if start.elapsed() > context.boot_deadline {
            let (instance, after) = (context.instance.clone(), context.boot_deadline);
            return Err(RuntimeError::NotReady { instance, after });
        }
        sleep(AGENT_LOOK_EVERY).await;
    }
}
