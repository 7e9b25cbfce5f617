//! Instances: containers and virtual machines.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::{Call, Client, Tag, Tagged, segment};
use crate::error::Error;
use crate::operations::Operation;

/// Configuration keys.
pub type Config = BTreeMap<String, String>;
/// Devices by name, each with its keys.
pub type Devices = BTreeMap<String, BTreeMap<String, String>>;

/// What an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceKind {
    /// It shares the host's kernel.
    #[default]
    Container,
    /// It has a kernel of its own.
    VirtualMachine,
}

impl fmt::Display for InstanceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            InstanceKind::Container => "container",
            InstanceKind::VirtualMachine => "virtual-machine",
        })
    }
}

/// An instance.
#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    /// Unique within its project.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: InstanceKind,
    /// `Running`, `Stopped` and the like.
    #[serde(default)]
    pub status: String,
    /// The same as a number: 102 stopped, 103 running.
    #[serde(default)]
    pub status_code: u16,
    /// Its own keys, with those that the server keeps (`volatile.*`).
    #[serde(default)]
    pub config: Config,
    /// Its own devices.
    #[serde(default)]
    pub devices: Devices,
    /// Its devices and those of its profiles.
    #[serde(default)]
    pub expanded_devices: Devices,
    /// When it was made, RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// Whether it is deleted when it stops.
    #[serde(default)]
    pub ephemeral: bool,
    /// The cluster member that it is on.
    #[serde(default)]
    pub location: String,
}

impl Instance {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.status_code == 103
    }

    /// The fingerprint of the image that it was made from.
    pub fn base_image(&self) -> Option<&str> {
        self.config.get("volatile.base_image").map(String::as_str)
    }
}

/// An instance to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewInstance {
    /// Unique within the project.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: InstanceKind,
    /// What it is made from.
    source: Source,
    /// The profiles that it begins with.
    pub profiles: Vec<String>,
    /// Its own keys.
    pub config: Config,
    /// Its own devices.
    pub devices: Devices,
    /// Whether it is deleted when it stops.
    pub ephemeral: bool,
    /// Whether it is started at once.
    pub start: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Source {
    #[serde(rename = "type")]
    kind: &'static str,
    fingerprint: String,
}

impl NewInstance {
    /// An instance of an image, by the image's fingerprint, with the profile `default`.
    pub fn new(kind: InstanceKind, name: impl Into<String>, fingerprint: impl Into<String>) -> NewInstance {
        let source = Source { kind: "image", fingerprint: fingerprint.into() };
        let profiles = vec!["default".to_owned()];
        NewInstance { name: name.into(), kind, source, profiles, ..NewInstance::default() }
    }

    /// A container.
    pub fn container(name: impl Into<String>, fingerprint: impl Into<String>) -> NewInstance {
        NewInstance::new(InstanceKind::Container, name, fingerprint)
    }

    /// Starts it as soon as it is made.
    pub fn started(mut self) -> NewInstance {
        self.start = true;
        self
    }
}

/// Keys and devices to be set; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InstancePatch {
    /// Keys to set; an empty value removes one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: Config,
    /// Devices to set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: Devices,
}

/// A change of an instance's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// Starts it.
    Start,
    /// Asks its init to end.
    Stop,
    /// Pulls the plug. An ephemeral instance is deleted with it.
    Kill,
}

/// What an instance uses.
#[derive(Clone, Debug, Deserialize)]
pub struct InstanceState {
    /// `Running`, `Stopped` and the like.
    pub status: String,
    /// The same as a number: 102 stopped, 103 running.
    pub status_code: u16,
    /// Number of processes; -1 when a virtual machine's agent does not answer.
    #[serde(default)]
    pub processes: i64,
    /// The host's number of its first process.
    #[serde(default)]
    pub pid: i64,
}

/// A condition on the list of instances, in the API's filter language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<String>);

impl Filter {
    /// Every instance.
    pub fn all() -> Filter {
        Filter::default()
    }

    /// Those that also have this configuration key with this value.
    pub fn and_config(mut self, key: &str, value: &str) -> Filter {
        // Values are regular expressions and end at a space (shared/filter); what we compare holds neither.
        self.0.push(format!("config.{key} eq {value}"));
        self
    }
}

impl Client {
    fn instance_path(name: &str) -> String {
        format!("/1.0/instances/{}", segment(name))
    }

    /// Makes an instance, and starts it when it says so.
    pub async fn create_instance(&self, instance: &NewInstance) -> Result<(), Error> {
        self.begin_create_instance(instance).await?.wait(self.deadline()).await.map(|_| ())
    }

    /// Begins to make an instance.
    pub async fn begin_create_instance(&self, instance: &NewInstance) -> Result<Operation, Error> {
        let body = serde_json::to_value(instance).map_err(|error| Error::shape("new instance", error))?;
        self.begin(Call::new(Method::POST, "/1.0/instances").json(body).targeted()).await
    }

    /// One instance, with its version.
    pub async fn instance(&self, name: &str) -> Result<Tagged<Instance>, Error> {
        self.ask_tagged(Call::get(Client::instance_path(name))).await.map_err(|error| match error {
            Error::NotFound { .. } => Error::NotFound { what: format!("instance {name}") },
            error => error,
        })
    }

    /// The instances that a filter lets through.
    pub async fn instances(&self, filter: &Filter) -> Result<Vec<Instance>, Error> {
        let mut call = Call::get("/1.0/instances").query("recursion", "1");
        if !filter.0.is_empty() {
            call = call.query("filter", filter.0.join(" and "));
        }
        self.ask(call).await
    }

    /// Sets keys and devices, of a running instance too. With a tag, only if nobody changed it since: else [`Error::Stale`].
    pub async fn patch_instance(
        &self,
        name: &str,
        patch: &InstancePatch,
        tag: Option<&Tag>,
    ) -> Result<(), Error> {
        let body = serde_json::to_value(patch).map_err(|error| Error::shape("instance patch", error))?;
        let call = Call::new(Method::PATCH, Client::instance_path(name)).json(body).if_match(tag);
        self.tell(call).await
    }

    /// Starts or ends an instance, and waits until it is done.
    pub async fn change_state(&self, name: &str, change: StateChange) -> Result<(), Error> {
        let (action, is_forced) = match change {
            StateChange::Start => ("start", false),
            StateChange::Stop => ("stop", false),
            StateChange::Kill => ("stop", true),
        };
        let timeout_s = self.deadline().as_secs().max(1);
        let body = json!({ "action": action, "force": is_forced, "timeout": timeout_s });
        let path = format!("{}/state", Client::instance_path(name));
        self.operate(Call::new(Method::PUT, path).json(body)).await.map(|_| ())
    }

    /// What an instance uses now.
    pub async fn instance_state(&self, name: &str) -> Result<InstanceState, Error> {
        self.ask(Call::get(format!("{}/state", Client::instance_path(name)))).await
    }

    /// Deletes a stopped instance.
    pub async fn delete_instance(&self, name: &str) -> Result<(), Error> {
        self.operate(Call::new(Method::DELETE, Client::instance_path(name))).await.map(|_| ())
    }

    /// Pulls the plug of an instance, deletes it, and looks whether it is gone, as often as the deadline allows. One that
    /// does not exist is gone.
    pub async fn destroy_instance(&self, name: &str) -> Result<(), Error> {
        let start = tokio::time::Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let found = match self.instance(name).await {
                Err(Error::NotFound { .. }) => return Ok(()),
                Err(error) => Err(error),
                Ok(found) => {
                    // An ephemeral one is gone with its end, another one is to be deleted: look again either way.
                    if found.value.status_code == 102 {
                        self.delete_instance(name).await
                    } else {
                        self.change_state(name, StateChange::Kill).await
                    }
                }
            };
            let last = match found {
                Ok(()) => None,
                Err(Error::NotFound { .. }) => return Ok(()),
                Err(error) => Some(error),
            };
            if start.elapsed() >= self.deadline() {
                let what = format!("deletion of instance {name}");
                return Err(last.unwrap_or(Error::TimedOut { what, after: self.deadline() }));
            }
            if last.is_some() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        }
    }
}
