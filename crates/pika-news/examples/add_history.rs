//! Adds made-up history to the database of a forge that is not running, for benches.

use anyhow::{Context as _, Result};
use pika_news::config::Config;
use pika_news::store::{SampleHistory, Store};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("{what} is missing"));
    let config = Config::load(next("the configuration file")?.as_ref())?;
    let repository = next("the repository")?;
    let sample = SampleHistory {
        branches: next("the number of branches")?.parse()?,
        attempts_per_lane: next("the number of attempts at each lane")?.parse()?,
        head_oid: next("the head")?,
        base_oid: next("the base")?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&config.data.join("pika-news.sqlite"))?;
        let repository = store.ensure_repository(&repository, 0).await?;
        Ok(store.add_sample_history(repository, sample).await?)
    })
}
