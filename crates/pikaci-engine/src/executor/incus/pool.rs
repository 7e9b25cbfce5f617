//! Instances that run and wait for a job.
//!
//! The pool's state is in Incus itself: keys on the instances, changed conditionally, so that several processes share a
//! pool and none owns it. An instance is used once.
//!
//! Invariants: `idle` becomes `taken` or `dropped` only by a change on the version that said `idle`, so two that want the
//! same instance are told apart by the server; one that is being made counts as one that waits, so that no other process
//! takes it for broken.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use incus_client::{
    Client, Config, Error, ExecRequest, Filter, Instance, InstancePatch, NewInstance, Tagged,
};
use jiff::Timestamp;
use pikaci::InstanceType;
use pikaci::guest::RUN_BINARY;

use super::context::{key, named};
use super::devices::{configure_remote_incus_devices, guest_keys, job_keys, limit_keys};
use super::image::Images;
use super::runtime::{Need, find_full, kind};
use super::{IncusSettings, PoolSettings, RemoteLinuxVmContext, image};

const IDLE: &str = "idle";
const DROPPED: &str = "dropped";
/// How many idle instances are tried before a new one is made.
const TRIES_MAX: usize = 8;

/// One waiting instance, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Waiting {
    /// Its name.
    pub instance: String,
    /// The fingerprint of its image.
    pub fingerprint: String,
    /// `idle`, or what became of it.
    pub state: String,
    /// Seconds since it was made.
    pub age_s: u64,
}

/// What a top-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Instances made.
    pub made: u32,
    /// Instances dropped: too old, of another image, or too many.
    pub dropped: u32,
}

/// Every instance that was made for a pool and waits.
pub async fn list(client: &Client) -> Result<Vec<Waiting>, Error> {
    let found = client.instances(&Filter::all().and_config(key::STATE, IDLE)).await?;
    Ok(found
        .into_iter()
        .filter_map(|instance| {
            let fingerprint = instance.config.get(key::POOL)?.clone();
            let age_s = age(&instance).as_secs();
            Some(Waiting { instance: instance.name, fingerprint, state: IDLE.to_owned(), age_s })
        })
        .collect())
}

/// Takes an idle instance for an attempt: its mounts, limits and keys in one conditional change. `None`: there is none, or
/// the job wants what a pool can't give.
pub(crate) async fn take(
    client: &Client,
    settings: &IncusSettings,
    image: &str,
    context: &RemoteLinuxVmContext,
    seen: &Seen,
) -> Option<Taken> {
    let pool = settings.pools.get(image)?;
    // A network needs a guest that brings it up at boot, a disk is sized when it is made, and a virtual machine keeps its
    // processors and memory.
    let has_own_size = context.kind == InstanceType::VirtualMachine
        && (pool.cpus, pool.memory_bytes) != (context.cpus, context.memory_bytes);
    if pool.instance != context.kind
        || context.network.is_some()
        || context.disk_bytes.is_some()
        || has_own_size
    {
        return None;
    }
    let mut patch =
        InstancePatch { config: job_keys(context), devices: configure_remote_incus_devices(context) };
    if context.kind == InstanceType::Container {
        patch.config.extend(limit_keys(context.cpus, context.memory_bytes));
    }
    if let Some(seen) = seen.take_of(&context.fingerprint, pool.age_max)
        && let Asked::Taken(taken) = ask_for(client, seen, &patch, context).await
    {
        return Some(taken);
    }
    let mut idle = idle(client, Some(&context.fingerprint)).await.ok()?;
    idle.retain(|instance| is_usable(instance, pool.age_max));
    for candidate in idle.into_iter().take(TRIES_MAX) {
        let found = client.instance(&candidate.name).await.ok();
        let Some(found) = found.filter(|found| is_idle(&found.value)) else { continue };
        match ask_for(client, found, &patch, context).await {
            Asked::Taken(taken) => return Some(taken),
            Asked::TooLate => {}
            Asked::Refused => return None,
        }
    }
    None
}

/// An instance that was idle and is the attempt's now.
pub(crate) struct Taken {
    pub(crate) instance: String,
    /// The image that it was made from.
    pub(crate) base_image: Option<String>,
}

enum Asked {
    Taken(Taken),
    /// Somebody else was faster.
    TooLate,
    /// Its devices can't be had.
    Refused,
}

async fn ask_for(
    client: &Client,
    found: Tagged<Instance>,
    patch: &InstancePatch,
    context: &RemoteLinuxVmContext,
) -> Asked {
    let (instance, base_image) = (found.value.name.clone(), found.value.base_image().map(str::to_owned));
    match client.patch_instance(&instance, patch, Some(&found.tag)).await {
        Ok(()) => Asked::Taken(Taken { instance, base_image }),
        Err(Error::Stale { .. } | Error::NotFound { .. }) => Asked::TooLate,
        // Its devices can't be had, and a new one will say why; or only the answer was lost.
        Err(_) if is_of(client, &instance, context).await => Asked::Taken(Taken { instance, base_image }),
        Err(_) => Asked::Refused,
    }
}

/// An idle instance that was seen before there was a job for it: its version makes sure that it is idle still when it is
/// asked for, so that a warm job needs no look of its own.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Option<Tagged<Instance>>>);

impl Seen {
    /// Looks for one of the image, where there is a pool for it.
    pub(crate) async fn look(&self, client: &Client, settings: &IncusSettings, images: &Images, image: &str) {
        let Some(pool) = settings.pools.get(image) else { return };
        let Ok(fingerprint) = images.resolve(client, image).await else { return };
        let Ok(idle) = idle(client, Some(&fingerprint)).await else { return };
        let Some(first) = idle.into_iter().find(|instance| is_usable(instance, pool.age_max)) else { return };
        if let Ok(found) = client.instance(&first.name).await {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
    }

    fn take_of(&self, fingerprint: &str, age_max: Duration) -> Option<Tagged<Instance>> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let is_of_image = found.value.config.get(key::POOL).is_some_and(|pool| pool == fingerprint);
        (is_of_image && is_idle(&found.value) && is_usable(&found.value, age_max)).then_some(found)
    }
}

fn is_usable(instance: &Instance, age_max: Duration) -> bool {
    instance.is_running() && age(instance) <= age_max
}

async fn is_of(client: &Client, name: &str, context: &RemoteLinuxVmContext) -> bool {
    let keys = job_keys(context);
    let has_all = |config: &Config| keys.iter().all(|(name, value)| config.get(name) == Some(value));
    client.instance(name).await.is_ok_and(|found| has_all(&found.value.config))
}

/// What the settings want of pools and no image can give; for people.
pub async fn mistakes(client: &Client, settings: &IncusSettings) -> Result<Vec<String>, Error> {
    let mut mistakes = Vec::new();
    for (name, pool) in &settings.pools {
        let image = client.image(&image::resolve(client, name).await?).await?;
        if image.kind != kind(pool.instance) {
            let (is, wanted) = (image.kind, kind(pool.instance));
            mistakes.push(format!(
                "image {name} is one for a {is}, and its pool wants a {wanted}; say `instance = \"{is}\"` in its pool"
            ));
        }
    }
    Ok(mistakes)
}

/// Brings every pool to its size, and drops what no pool wants any more.
pub async fn fill(client: &Client, settings: &IncusSettings) -> Result<Filled, Error> {
    let mut sum = Filled::default();
    let mut wanted = Vec::new();
    for image in settings.pools.keys() {
        let filled = top_up_image(client, settings, image).await?;
        (sum.made, sum.dropped) = (sum.made + filled.made, sum.dropped + filled.dropped);
        wanted.push(image::resolve(client, image).await?);
    }
    for instance in idle(client, None).await? {
        let is_wanted = instance.config.get(key::POOL).is_some_and(|pool| wanted.contains(pool));
        if !is_wanted && drop_idle(client, &instance.name).await? {
            sum.dropped += 1;
        }
    }
    Ok(sum)
}

/// Drops every idle instance. Returns how many.
pub async fn drain(client: &Client) -> Result<u32, Error> {
    let mut dropped = 0;
    for instance in idle(client, None).await? {
        dropped += u32::from(drop_idle(client, &instance.name).await?);
    }
    Ok(dropped)
}

/// Brings the pool of one image to its size: drops what is too old, too many, or of what the alias meant before, then makes
/// what is missing, as far as there is room. Nothing when there is no pool for it.
pub(crate) async fn top_up_image(
    client: &Client,
    settings: &IncusSettings,
    image: &str,
) -> Result<Filled, Error> {
    let Some(pool) = settings.pools.get(image) else { return Ok(Filled::default()) };
    let fingerprint = image::resolve(client, image).await?;
    let mut filled = Filled::default();
    let mut usable = 0;
    for instance in idle(client, None).await? {
        let is_of_image = instance.config.get(key::POOL).is_some_and(|known| *known == fingerprint);
        let was_of_image = instance.config.get("user.pikaci.image").is_some_and(|known| known == image);
        if !is_of_image && !was_of_image {
            continue;
        }
        // Another process may be making it at this moment.
        let is_there = instance.is_running() || age(&instance) <= settings.boot_deadline;
        let is_good = is_of_image && is_there && age(&instance) <= pool.age_max;
        if is_good && usable < pool.size {
            usable += 1;
        } else if drop_idle(client, &instance.name).await? {
            filled.dropped += 1;
        }
    }
    let missing = pool.size.saturating_sub(usable);
    let making = (0..missing).map(|_| make(client, settings, *pool, image, &fingerprint));
    for made in futures_util::future::join_all(making).await {
        match made {
            Ok(()) => filled.made += 1,
            // Jobs have the room. It is filled when they leave.
            Err(Error::Refused { .. } | Error::OperationFailed { .. })
                if find_full(client, &need(settings, *pool)).await.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn need(settings: &IncusSettings, pool: PoolSettings) -> Need {
    let PoolSettings { instance: kind, cpus, memory_bytes, .. } = pool;
    Need { kind, cpus, memory_bytes, processes_max: settings.processes_max, disk_bytes: None }
}

async fn make(
    client: &Client,
    settings: &IncusSettings,
    pool: PoolSettings,
    image: &str,
    fingerprint: &str,
) -> Result<(), Error> {
    let name = named(&format!("{}:{}", pikaci::RunId::random(Timestamp::now()), fingerprint));
    let mut instance = NewInstance::new(kind(pool.instance), name, fingerprint).started();
    instance.ephemeral = true;
    instance.profiles = vec![settings.profile.clone()];
    instance.config = guest_keys(pool.instance, pool.cpus, pool.memory_bytes, settings.processes_max);
    let now = Timestamp::now().as_second();
    // Nobody looks after it when its makers are gone: anybody may delete it some time after it is too old.
    let deadline =
        now.saturating_add(i64::try_from(pool.age_max.as_secs()).unwrap_or(i64::MAX)).saturating_add(3600);
    let keys = [
        (key::POOL, fingerprint.to_owned()),
        ("user.pikaci.image", image.to_owned()),
        (key::STATE, IDLE.to_owned()),
        (key::MADE, now.to_string()),
        (key::OWNER, settings.owner.clone()),
        (key::DEADLINE, deadline.to_string()),
    ];
    instance.config.extend(keys.map(|(name, value)| (name.to_owned(), value)));
    let client = client.with_deadline(settings.boot_deadline);
    client.create_instance(&instance).await?;
    if pool.instance == InstanceType::Container {
        // The first command in an instance takes twice as long as the next one. This one shows also that the runner runs.
        let version = ExecRequest::new([RUN_BINARY, "--version"]);
        match client.exec_unattended(&instance.name, &version).await {
            // A job may have taken it meanwhile, and be through with it.
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes room by dropping one idle instance, rather one of another image than `spared`. Returns whether there was one.
pub(crate) async fn drop_one(client: &Client, _settings: &IncusSettings, spared: Option<&str>) -> bool {
    let Ok(mut idle) = idle(client, None).await else { return false };
    idle.sort_by_key(|instance| instance.config.get(key::POOL).map(String::as_str) == spared);
    for instance in idle {
        if matches!(drop_idle(client, &instance.name).await, Ok(true)) {
            return true;
        }
    }
    false
}

async fn idle(client: &Client, fingerprint: Option<&str>) -> Result<Vec<Instance>, Error> {
    let filter = Filter::all().and_config(key::STATE, IDLE);
    let filter = match fingerprint {
        Some(fingerprint) => filter.and_config(key::POOL, fingerprint),
        None => filter,
    };
    let mut found = client.instances(&filter).await?;
    // The filter is the server's; what is done here must not depend on how it compares.
    found.retain(|instance| is_idle(instance) && instance.config.contains_key(key::POOL));
    found.sort_by_key(|instance| std::cmp::Reverse(age(instance)));
    Ok(found)
}

fn is_idle(instance: &Instance) -> bool {
    instance.config.get(key::STATE).is_some_and(|state| state == IDLE)
}

fn age(instance: &Instance) -> Duration {
    let made = instance.config.get(key::MADE).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    Duration::from_secs(u64::try_from(Timestamp::now().as_second().saturating_sub(made)).unwrap_or(0))
}

/// Takes an idle instance out of the pool, then deletes it. Returns whether it was still idle.
async fn drop_idle(client: &Client, name: &str) -> Result<bool, Error> {
    let found = match client.instance(name).await {
        Err(Error::NotFound { .. }) => return Ok(false),
        found => found?,
    };
    if !is_idle(&found.value) {
        return Ok(false);
    }
    let config = [(key::STATE.to_owned(), DROPPED.to_owned())].into();
    let patch = InstancePatch { config, ..InstancePatch::default() };
    match client.patch_instance(name, &patch, Some(&found.tag)).await {
        Err(Error::Stale { .. } | Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
        Ok(()) => client.destroy_instance(name).await.map(|()| true),
    }
}
