//! The commands, one file each, and what they share: the way from a configuration to a store and a runtime.

pub(crate) mod access;
pub(crate) mod check_config;
pub(crate) mod demo;
pub(crate) mod serve;

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

fn open_store(config: &Config) -> Result<Store> {
    let data = &config.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make the folder {}", data.display()))?;
    Ok(Store::open(&database(config))?)
}

fn database(config: &Config) -> PathBuf {
    config.data.join("pika-news.sqlite")
}
