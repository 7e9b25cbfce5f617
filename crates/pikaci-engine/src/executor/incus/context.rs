//! One attempt in one instance: names, keys and mounts, as values.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use pikaci::guest::SNAPSHOT_PATH;
use pikaci::{InstanceType, JobId, JobSpec, RunId};
use sha2::{Digest as _, Sha256};

use super::{Attempt, IncusSettings};
use crate::executor::{Proof, Share};

/// How long after its job's own deadline an instance may be deleted by anybody.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// Keys that every instance carries.
pub(crate) mod key {
    pub(crate) const RUN: &str = "user.pikaci.run";
    pub(crate) const JOB: &str = "user.pikaci.job";
    pub(crate) const ATTEMPT: &str = "user.pikaci.attempt";
    /// Seconds since 1970.
    pub(crate) const DEADLINE: &str = "user.pikaci.deadline";
    pub(crate) const OWNER: &str = "user.pikaci.owner";
    /// Of an instance that waits for a job: the fingerprint of its image.
    pub(crate) const POOL: &str = "user.pikaci.pool";
    /// `idle`, `taken` or `dropped`.
    pub(crate) const STATE: &str = "user.pikaci.state";
    /// Seconds since 1970.
    pub(crate) const MADE: &str = "user.pikaci.made";
}

/// A share as a device of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The device's name.
    pub device: String,
    /// What it shows the guest.
    pub share: Share,
}

impl Mount {
    fn new(device: String, share: &Share) -> Mount {
        // The server follows no link out of the folders that it lets in.
        let source = std::fs::canonicalize(&share.source).unwrap_or_else(|_| share.source.clone());
        Mount { device, share: Share { source, ..share.clone() } }
    }
}

/// Where one attempt runs, with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteLinuxVmContext {
    /// The instance.
    pub instance: String,
    /// What kind of instance.
    pub kind: InstanceType,
    /// The image, resolved.
    pub fingerprint: String,
    /// The image that the instance says it was made from, when that is known already.
    pub base_image: Option<String>,
    /// Its profile.
    pub profile: String,
    /// The network, when the job asks for one.
    pub network: Option<String>,
    /// Its inputs.
    pub mounts: Vec<Mount>,
    /// Processors.
    pub cpus: u32,
    /// Bytes.
    pub memory_bytes: u64,
    /// Bytes of its root disk; `None`: what the profile says.
    pub disk_bytes: Option<u64>,
    /// The most processes.
    pub processes_max: u32,
    /// How long it may take until commands can be run in it.
    pub boot_deadline: Duration,
    /// How long a share may take until it is there.
    pub mount_deadline: Duration,
    /// How much of the job's log is kept on the host.
    pub log_bytes_max: u64,
    /// The run, for the instance's keys.
    pub run_id: RunId,
    /// The job.
    pub job_id: JobId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Who may delete it.
    pub owner: String,
    /// When anybody may.
    pub deadline: Timestamp,
}

impl RemoteLinuxVmContext {
    pub(crate) fn new(
        settings: &IncusSettings,
        attempt: &Attempt,
        fingerprint: String,
        instance: String,
    ) -> RemoteLinuxVmContext {
        let job: &JobSpec = &attempt.job;
        let snapshot = Share {
            source: attempt.snapshot_dir.clone(),
            path: SNAPSHOT_PATH.to_owned(),
            proof: Proof::Sentinel(attempt.snapshot_digest.as_str().to_owned()),
            contract: None,
        };
        let mut mounts = vec![Mount::new("snapshot".to_owned(), &snapshot)];
        // Two outputs may refer to the same store path.
        let mut seen = BTreeSet::new();
        let shares = attempt.shares.iter().filter(|share| seen.insert(&share.path)).enumerate();
        mounts.extend(shares.map(|(number, share)| Mount::new(format!("prepared{number}"), share)));
        let lives_for = settings.boot_deadline + job.timeout() + FORGOTTEN_AFTER;
        RemoteLinuxVmContext {
            instance,
            kind: job.instance,
            fingerprint,
            base_image: None,
            profile: settings.profile.clone(),
            network: job.network.then(|| settings.network.clone()),
            mounts,
            cpus: job.cpus,
            memory_bytes: job.memory_bytes,
            disk_bytes: job.disk_bytes,
            processes_max: settings.processes_max,
            boot_deadline: settings.boot_deadline,
            mount_deadline: settings.mount_deadline,
            log_bytes_max: settings.log_bytes_max,
            run_id: attempt.run_id.clone(),
            job_id: job.id.clone(),
            attempt: attempt.number,
            owner: settings.owner.clone(),
            deadline: Timestamp::now().saturating_add(lives_for).unwrap_or(Timestamp::MAX),
        }
    }
}

/// `pikaci-` and 12 hex digits: the same for the same attempt, so that who asks twice finds what was made.
pub(crate) fn instance_name(run: &RunId, job: &JobId, attempt: u32) -> String {
    named(&format!("{run}:{job}:{attempt}"))
}

pub(crate) fn named(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let digits: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("pikaci-{digits}")
}

#[cfg(test)]
pub(crate) fn sample_remote_context() -> RemoteLinuxVmContext {
    RemoteLinuxVmContext {
        instance: "pikaci-0123456789ab".to_owned(),
        kind: InstanceType::VirtualMachine,
        fingerprint: "f".repeat(64),
        base_image: None,
        profile: "pikaci".to_owned(),
        network: None,
        mounts: vec![Mount {
            device: "snapshot".to_owned(),
            share: Share {
                source: "/state/snapshots/abc".into(),
                path: SNAPSHOT_PATH.to_owned(),
                proof: Proof::Sentinel("abc".to_owned()),
                contract: None,
            },
        }],
        cpus: 2,
        memory_bytes: 4 << 30,
        disk_bytes: None,
        processes_max: 4096,
        boot_deadline: Duration::from_secs(120),
        mount_deadline: Duration::from_secs(30),
        log_bytes_max: pikaci::guest::LOG_BYTES_MAX,
        run_id: RunId::parse("20260301T142233Z-7f3a9c10").unwrap(),
        job_id: JobId::parse("unit").unwrap(),
        attempt: 1,
        owner: "owner".to_owned(),
        deadline: Timestamp::from_second(1_800_000_000).unwrap(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_always_has_the_same_instance_and_another_attempt_another_one() {
        let run = RunId::parse("20260301T142233Z-7f3a9c10").unwrap();
        let job = JobId::parse("unit").unwrap();
        // sha256sum of "20260301T142233Z-7f3a9c10:unit:1".
        let first = instance_name(&run, &job, 1);
        assert_eq!(first, instance_name(&run, &job, 1));
        assert_ne!(first, instance_name(&run, &job, 2));
        assert_eq!(first.len(), "pikaci-".len() + 12);
    }
}
