//! What the executor is told of the server. It reads no environment itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use incus_client::{Client, Endpoint};

/// Where jobs run, and under which rules. The operator's word: nothing of it comes from the tested code.
#[derive(Clone, Debug)]
pub struct IncusSettings {
    /// The server.
    pub endpoint: Endpoint,
    /// The Incus project of all instances.
    pub project: String,
    /// The profile of all instances: it has their root disk.
    pub profile: String,
    /// The network of jobs that ask for one.
    pub network: String,
    /// Whether the server sees the state root under the same path as this host. A server on this host does.
    pub shares_files: bool,
    /// The member of a cluster that instances are made on; it must see the state root.
    pub member: Option<String>,
    /// The most processes of one instance.
    pub processes_max: u32,
    /// How long an instance may take until commands can be run in it.
    pub boot_deadline: Duration,
    /// How long a share may take until it is there.
    pub mount_deadline: Duration,
    /// How much of a job's log is kept, in bytes. The guest runner keeps to its own limit; this one holds for a guest that does not.
    pub log_bytes_max: u64,
    /// Running idle instances, by image.
    pub pools: BTreeMap<String, PoolSettings>,
    /// The state root whose folders are shared with instances.
    pub state_root: PathBuf,
    /// Names the state root on whose behalf instances are made; a sweep takes only its own.
    pub owner: String,
}

/// Idle instances of one image that wait for jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// How many wait.
    pub size: u32,
    /// What they are.
    pub instance: pikaci::InstanceType,
    /// Processors of each until a job says otherwise.
    pub cpus: u32,
    /// Memory of each until a job says otherwise, in bytes.
    pub memory_bytes: u64,
    /// An older one is dropped.
    pub age_max: Duration,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            size: 0,
            instance: pikaci::InstanceType::default(),
            cpus: 2,
            memory_bytes: 4 << 30,
            age_max: Duration::from_secs(3600),
        }
    }
}

impl IncusSettings {
    /// The names that the contract gives, on a server, for a state root that is called `owner` there.
    pub fn new(
        endpoint: Endpoint,
        state_root: impl Into<PathBuf>,
        owner: impl Into<String>,
    ) -> IncusSettings {
        IncusSettings {
            state_root: state_root.into(),
            shares_files: endpoint.is_local(),
            endpoint,
            project: "pikaci".to_owned(),
            profile: "pikaci".to_owned(),
            network: "pikaci".to_owned(),
            member: None,
            processes_max: 4096,
            boot_deadline: Duration::from_secs(120),
            mount_deadline: Duration::from_secs(30),
            log_bytes_max: pikaci::guest::LOG_BYTES_MAX,
            pools: BTreeMap::new(),
            owner: owner.into(),
        }
    }

    /// A client that sees the project.
    pub fn client(&self) -> Client {
        let client = Client::new(self.endpoint.clone()).with_project(&self.project);
        match &self.member {
            Some(member) => client.with_target(member),
            None => client,
        }
    }
}
