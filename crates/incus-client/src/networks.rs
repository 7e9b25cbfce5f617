//! Networks.

use hyper::Method;
use serde::{Deserialize, Serialize};

use crate::call::{Call, segment};
use crate::client::Client;
use crate::error::Error;
use crate::instances::Config;

/// A network.
#[derive(Clone, Debug, Deserialize)]
pub struct Network {
    /// Its name: of a bridge, that of the host's interface.
    pub name: String,
    /// `bridge` and the like.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Whether Incus made it.
    #[serde(default)]
    pub managed: bool,
    /// Its keys.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub config: Config,
}

/// A network to be made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewNetwork {
    /// At most 15 bytes.
    pub name: String,
    /// `bridge` and the like.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its keys.
    pub config: Config,
    /// For people.
    pub description: String,
}

impl Client {
    /// A network by name. [`Error::NotFound`] when there is none.
    pub async fn network(&self, name: &str) -> Result<Network, Error> {
        self.ask(Call::get(network_path(name)))
            .await
            .map_err(|error| error.missing(|| format!("network {name}")))
    }

    /// Makes a network. [`Error::Conflict`] when there is one of that name.
    pub async fn create_network(&self, network: &NewNetwork) -> Result<(), Error> {
        let body = serde_json::to_value(network).map_err(|error| Error::shape("new network", error))?;
        self.tell(Call::new(Method::POST, "/1.0/networks").json(body)).await
    }

    /// Sets keys of a network; an empty value removes one, and what is not named stays.
    pub async fn patch_network(&self, name: &str, config: &Config) -> Result<(), Error> {
        let body = serde_json::json!({ "config": config });
        self.tell(Call::new(Method::PATCH, network_path(name)).json(body)).await
    }

    /// Removes a network that nothing uses. [`Error::Refused`] when something does, [`Error::NotFound`] when there is none.
    pub async fn delete_network(&self, name: &str) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, network_path(name))).await
    }
}

fn network_path(name: &str) -> String {
    format!("/1.0/networks/{}", segment(name))
}
