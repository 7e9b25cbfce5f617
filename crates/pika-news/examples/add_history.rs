//! Adds made-up history to the database of a forge that is not running, for benches.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use pika_news::config::Config;
use pika_news::store::{SampleHistory, Store};

#[derive(Debug, Parser)]
struct Arguments {
    /// The forge's configuration
    config: PathBuf,
    /// The repository that gets the history
    repository: String,
    /// How many branches
    branches: i64,
    /// How many attempts at each lane
    attempts_per_lane: i64,
    /// The commit of each branch's latest head
    head_oid: String,
    /// The merge base of that
    base_oid: String,
}

fn main() -> Result<()> {
    let Arguments { config, repository, branches, attempts_per_lane, head_oid, base_oid } =
        Arguments::parse();
    let config = Config::load(&config)?;
    let sample = SampleHistory { branches, attempts_per_lane, head_oid, base_oid };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&config.data.join("pika-news.sqlite"))?;
        let repository = store.ensure_repository(&repository, 0).await?;
        Ok(store.add_sample_history(repository, sample).await?)
    })
}
