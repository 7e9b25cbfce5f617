//! `pika-news check-config`.
//!
//! Invariant: what is said to be well can be served with; nothing is made and nothing is listened on.

use std::path::Path;

use anyhow::{Result, bail};
use pika_news::config::Config;
use pika_news::forge::Forge;
use pika_news::hook_socket;

/// Prints "ok", or fails with every problem on a line of its own.
pub(crate) fn run(file: &Path) -> Result<()> {
    let config = Config::load(file)?;
    let mut problems = Forge::check(&config);
    problems.extend(
        hook_socket::check(&super::serve::hook_socket_path(&config)?).err().map(|error| error.to_string()),
    );
    problems.extend(super::serve::find_pikaci(&config).err().map(|error| error.to_string()));
    if !problems.is_empty() {
        bail!("{}: {}", file.display(), problems.join(&format!("\n{}: ", file.display())));
    }
    println!("ok");
    Ok(())
}
