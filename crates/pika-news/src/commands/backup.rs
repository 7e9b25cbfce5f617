//! `pika-news backup` and `pika-news restore`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use pika_news::backup::{self, BackupDescription};
use pika_news::config::Config;

/// What to copy, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The folder to be made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also copy frozen trees and prepared outputs, which can be made again
    #[arg(long)]
    snapshots: bool,
}

/// What to restore, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArguments {
    /// The configuration file, whose data folder holds no forge
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A folder that `backup` made
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Check the backup, and restore nothing
    #[arg(long)]
    check: bool,
}

/// Copies a forge, which may be running.
pub(crate) fn back_up(arguments: &BackupArguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    if !super::database(&config).is_file() {
        bail!("there is no forge in {}; nothing was copied", config.data.display());
    }
    super::runtime()?.block_on(async {
        let opened = super::open_store(&config)?;
        let git = super::serve::git();
        let made = backup::back_up(&git, &config, &opened.store, &arguments.out, arguments.snapshots).await?;
        println!("backed up to {}", arguments.out.display());
        tell(&made);
        Ok(())
    })
}

/// Makes a forge of a backup.
pub(crate) fn restore(arguments: &RestoreArguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    super::runtime()?.block_on(async {
        let git = super::serve::git();
        if arguments.check {
            let found = backup::check(&git, &arguments.from).await?;
            println!("{} is whole", arguments.from.display());
            tell(&found);
            return Ok(());
        }
        let restored = backup::restore(&git, &config, &arguments.from).await?;
        println!("restored into {}", config.data.display());
        tell(&restored);
        Ok(())
    })
}

fn tell(description: &BackupDescription) {
    println!("  made {} by pika-news {}", description.created_at, description.pika_news);
    for repository in &description.repositories {
        println!("  {}: {} references, {} runs", repository.name, repository.references, repository.runs);
    }
}
