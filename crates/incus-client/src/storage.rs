//! Storage pools and the volumes in them.

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::call::{Call, segment};
use crate::client::Client;
use crate::error::Error;
use crate::instances::Config;

/// A storage pool.
#[derive(Clone, Debug, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// `dir`, `btrfs`, `zfs` and the like.
    pub driver: String,
    /// Its keys.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub config: Config,
}

/// A pool to be made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewPool {
    /// Its name.
    pub name: String,
    /// `dir`, `btrfs`, `zfs` and the like.
    pub driver: String,
    /// Its keys.
    pub config: Config,
}

/// What a pool has and uses.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct PoolResources {
    /// Bytes.
    #[serde(default)]
    pub space: Space,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Space {
    /// In use.
    #[serde(default)]
    pub used: u64,
    /// All of it.
    #[serde(default)]
    pub total: u64,
}

/// A volume.
#[derive(Clone, Debug, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// `container`, `virtual-machine`, `custom` or `image`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Client {
    /// Every pool.
    pub async fn pools(&self) -> Result<Vec<Pool>, Error> {
        self.ask_list(Call::get("/1.0/storage-pools").query("recursion", "1")).await
    }

    /// A pool by name. [`Error::NotFound`] when there is none.
    pub async fn pool(&self, name: &str) -> Result<Pool, Error> {
        self.ask(Call::get(pool_path(name)))
            .await
            .map_err(|error| error.missing(|| format!("storage pool {name}")))
    }

    /// What a pool has and uses. [`Error::NotFound`] when there is none.
    pub async fn pool_resources(&self, name: &str) -> Result<PoolResources, Error> {
        self.ask(Call::get(format!("{}/resources", pool_path(name)))).await
    }

    /// Makes a pool. [`Error::Conflict`] when there is one of that name.
    pub async fn create_pool(&self, pool: &NewPool) -> Result<(), Error> {
        let body = serde_json::to_value(pool).map_err(|error| Error::shape("new pool", error))?;
        self.tell(Call::new(Method::POST, "/1.0/storage-pools").json(body)).await
    }

    /// Removes an empty pool. [`Error::Refused`] when it is not empty, [`Error::NotFound`] when there is none.
    pub async fn delete_pool(&self, name: &str) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, pool_path(name))).await
    }

    /// The volumes of a pool that belong to the project. [`Error::NotFound`] when there is no such pool.
    pub async fn volumes(&self, pool: &str) -> Result<Vec<Volume>, Error> {
        self.ask_list(Call::get(format!("{}/volumes", pool_path(pool))).query("recursion", "1")).await
    }

    /// Makes an empty volume of the kind `custom`. [`Error::Conflict`] when there is one of that name.
    pub async fn create_volume(&self, pool: &str, name: &str, config: &Config) -> Result<(), Error> {
        let body = json!({ "name": name, "type": "custom", "config": config });
        let path = format!("{}/volumes/custom", pool_path(pool));
        self.tell(Call::new(Method::POST, path).json(body).targeted()).await
    }

    /// Removes a volume of the kind `custom`. [`Error::Refused`] when something uses it, [`Error::NotFound`] when there is none.
    pub async fn delete_volume(&self, pool: &str, name: &str) -> Result<(), Error> {
        let path = format!("{}/volumes/custom/{}", pool_path(pool), segment(name));
        self.tell(Call::new(Method::DELETE, path).targeted()).await
    }
}

fn pool_path(name: &str) -> String {
    format!("/1.0/storage-pools/{}", segment(name))
}
