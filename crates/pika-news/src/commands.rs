//! The commands, one file each, and what they share: the way from a configuration to a store and a runtime.

pub(crate) mod access;
pub(crate) mod backup;
pub(crate) mod check_config;
pub(crate) mod client;
pub(crate) mod demo;
pub(crate) mod local;
pub(crate) mod secret;
pub(crate) mod serve;

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use pika_news::config::Config;
use pika_news::store::Store;
use tokio::runtime::Runtime;

const WORKERS: usize = 2;
/// Reading the database and the runs' folders blocks; more than this at once only costs memory.
const BLOCKING_MAX: usize = 16;
/// The administrator that a new forge begins with.
pub(crate) const FIRST_USER: &str = "admin";

fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .enable_all()
        .build();
    runtime.context("cannot start the runtime")
}

/// The database, and the lock that says that nobody else may bring it up to date.
struct Opened {
    store: Store,
    lock: Option<File>,
}

/// Opens the database. The lock comes first: beside a forge that is running, the schema is left as it is.
fn open_store(config: &Config) -> Result<Opened> {
    let data = &config.data;
    // Repositories, logs and the database are below it: for the forge's user alone, whatever the umask.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.with_context(|| format!("cannot make the folder {}", data.display()))?;
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Opened { store: Store::open(&database(config))?, lock: Some(file) }),
        Err(TryLockError::WouldBlock) => {
            Ok(Opened { store: Store::open_beside(&database(config))?, lock: None })
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn database(config: &Config) -> PathBuf {
    config.data.join("pika-news.sqlite")
}
