//! Instances: containers and virtual machines.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::call::{Call, segment};
use crate::client::{Client, Tag, Tagged};
use crate::error::Error;
use crate::operations::Operation;

const DESTROY_PAUSE_MIN: Duration = Duration::from_millis(50);
const DESTROY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Among the API's status codes (rest-api.md, "List of current status codes").
const STOPPED: u16 = 102;
const RUNNING: u16 = 103;

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
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub config: Config,
    /// Its own devices.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub devices: Devices,
    /// Its devices and those of its profiles.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
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
        self.status_code == RUNNING
    }

    /// Whether it is stopped. It may also be neither: frozen, say, or in error.
    pub fn is_stopped(&self) -> bool {
        self.status_code == STOPPED
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

/// A condition on the list of instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<(String, String)>);

impl Filter {
    /// Every instance.
    pub fn all() -> Filter {
        Filter::default()
    }

    /// Those that also have this configuration key with exactly this value.
    pub fn and_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Filter {
        self.0.push((key.into(), value.into()));
        self
    }

    fn lets_through(&self, instance: &Instance) -> bool {
        self.0.iter().all(|(key, value)| instance.config.get(key) == Some(value))
    }

    /// The condition in the API's filter language, as far as that goes; `None` where it goes not at all.
    ///
    /// Incus compares with a regular expression that ignores case, splits at spaces, and takes quotes and commas for its own
    /// (internal/filter). So all but letters and digits is escaped, and the answer is looked through once more.
    fn expression(&self) -> Option<String> {
        let is_plain =
            |key: &str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let clauses: Vec<String> = self
            .0
            .iter()
            .filter(|(key, value)| is_plain(key) && !value.is_empty())
            .map(|(key, value)| {
                let mut pattern = String::new();
                for character in value.chars() {
                    if character.is_ascii_alphanumeric() {
                        pattern.push(character);
                    } else {
                        pattern.push_str(&format!("\\x{{{:x}}}", u32::from(character)));
                    }
                }
                format!("config.{key} eq {pattern}")
            })
            .collect();
        Some(clauses.join(" and ")).filter(|expression| !expression.is_empty())
    }
}

impl Client {
    fn instance_path(name: &str) -> String {
        format!("/1.0/instances/{}", segment(name))
    }

    /// Makes an instance, and starts it when it says so.
    ///
    /// - [`Error::Refused`]: a limit or a restriction of the project, or an image or device that does not exist.
    /// - [`Error::OperationFailed`]: it could not be made, such as when there is one of that name, or not be started. One that
    ///   was made but not started stays.
    pub async fn create_instance(&self, instance: &NewInstance) -> Result<(), Error> {
        let start = Instant::now();
        self.begin_create_instance(instance).await?.wait_since(start, self.deadline()).await.map(|_| ())
    }

    /// Begins to make an instance. Errors as in [`Client::create_instance`], as far as they are known at once.
    pub async fn begin_create_instance(&self, instance: &NewInstance) -> Result<Operation, Error> {
        let body = serde_json::to_value(instance).map_err(|error| Error::shape("new instance", error))?;
        self.begin(Call::new(Method::POST, "/1.0/instances").json(body).targeted()).await
    }

    /// One instance, with its version. [`Error::NotFound`] when there is none.
    pub async fn instance(&self, name: &str) -> Result<Tagged<Instance>, Error> {
        self.ask_tagged(Call::get(Client::instance_path(name)))
            .await
            .map_err(|error| error.missing(|| format!("instance {name}")))
    }

    /// The instances that a filter lets through.
    pub async fn instances(&self, filter: &Filter) -> Result<Vec<Instance>, Error> {
        let mut call = Call::get("/1.0/instances").query("recursion", "1");
        if let Some(expression) = filter.expression() {
            call = call.query("filter", expression);
        }
        let mut found: Vec<Instance> = self.ask_list(call).await?;
        found.retain(|instance| filter.lets_through(instance));
        Ok(found)
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

    /// Starts or ends an instance, and waits until it is done. [`Error::NotFound`] when there is none,
    /// [`Error::OperationFailed`] or [`Error::Refused`] when it is in that state already or can't be brought there.
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

    /// What an instance uses now. [`Error::NotFound`] when there is none.
    pub async fn instance_state(&self, name: &str) -> Result<InstanceState, Error> {
        self.ask(Call::get(format!("{}/state", Client::instance_path(name)))).await
    }

    /// Deletes a stopped instance. [`Error::Refused`] when it runs, [`Error::NotFound`] when there is none.
    pub async fn delete_instance(&self, name: &str) -> Result<(), Error> {
        self.operate(Call::new(Method::DELETE, Client::instance_path(name))).await.map(|_| ())
    }

    /// Pulls the plug of an instance, deletes it, and looks whether it is gone, as often as the deadline allows. One that
    /// does not exist is gone.
    ///
    /// A right that is missing ends it at once; any other failure only when the deadline is over, with the last one.
    pub async fn destroy_instance(&self, name: &str) -> Result<(), Error> {
        let (start, deadline) = (Instant::now(), self.deadline());
        let mut pause = DESTROY_PAUSE_MIN;
        loop {
            let left = deadline.saturating_sub(start.elapsed());
            let tried = self.with_deadline(left).destroy_once(name).await;
            match &tried {
                Ok(()) => {}
                Err(Error::NotFound { .. }) => return Ok(()),
                Err(Error::Refused { status: 401 | 403, .. } | Error::Untrusted { .. }) => return tried,
                // Another request may hold it, or the server may be on its way back.
                Err(_) => {
                    sleep(pause.min(deadline.saturating_sub(start.elapsed()))).await;
                    pause = (pause * 2).min(DESTROY_PAUSE_MAX);
                }
            }
            if start.elapsed() >= deadline {
                let what = format!("deletion of instance {name}");
                return match tried {
                    Ok(()) | Err(Error::TimedOut { .. }) => Err(Error::TimedOut { what, after: deadline }),
                    failed => failed,
                };
            }
        }
    }

    /// Goes one step towards the end of an instance. [`Error::NotFound`] when there is none to go.
    async fn destroy_once(&self, name: &str) -> Result<(), Error> {
        let start = Instant::now();
        let found = self.instance(name).await?;
        let rest = self.with_deadline(self.deadline().saturating_sub(start.elapsed()));
        // An ephemeral one is gone with its end, another one is to be deleted: the next look tells.
        if found.value.is_stopped() {
            rest.delete_instance(name).await
        } else {
            rest.change_state(name, StateChange::Kill).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_safe_in_the_language_of_the_api() {
        let filter = Filter::all().and_config("user.run", "a-1").and_config("user.text", "x or y,\"z\"$");
        assert_eq!(
            filter.expression().unwrap(),
            r"config.user.run eq a\x{2d}1 and config.user.text eq x\x{20}or\x{20}y\x{2c}\x{22}z\x{22}\x{24}"
        );
        assert_eq!(Filter::all().expression(), None);
        // What the language can't say is left to the second look.
        assert_eq!(Filter::all().and_config("user.a b", "1").and_config("user.c", "").expression(), None);
    }

    #[test]
    fn a_filter_compares_exactly() {
        let instance = |value: &str| Instance {
            config: Config::from([("user.run".to_owned(), value.to_owned())]),
            ..serde_json::from_value(json!({ "name": "one", "type": "container" })).unwrap()
        };
        let filter = Filter::all().and_config("user.run", "a");
        assert!(filter.lets_through(&instance("a")));
        assert!(!filter.lets_through(&instance("A")));
        assert!(!Filter::all().and_config("user.other", "").lets_through(&instance("a")));
    }

    #[test]
    fn what_is_null_is_empty() {
        let value = json!({ "name": "one", "type": "container", "config": null, "devices": null });
        let instance: Instance = serde_json::from_value(value).unwrap();
        assert!(instance.config.is_empty() && instance.devices.is_empty());
    }
}
