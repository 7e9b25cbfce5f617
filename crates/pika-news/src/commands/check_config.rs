//! `pika-news check-config`.

use std::path::Path;

use anyhow::Result;
use pika_news::config::Config;

/// Prints "ok", or fails with every problem on a line of its own.
pub(crate) fn run(file: &Path) -> Result<()> {
    Config::load(file)?;
    println!("ok");
    Ok(())
}
