//! `pika-news secret key|set|list|rm`: an operator keeps the secrets of repositories, beside a running forge or without one.

use std::io::{self, Read as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use pika_news::config::Config;
use pika_news::forge::{Forge, SECRET_BYTES_MAX};
use pika_news::secrets::SecretKey;

/// What is done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make the key that secrets are kept under
    Key {
        /// The file to be made
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Set a secret, whose content is read from standard input
    Set(Named),
    /// List the secrets of a repository; their content is never shown
    List(Repository),
    /// Remove a secret
    Rm(Named),
}

/// Whose secrets.
#[derive(Debug, clap::Args)]
pub(crate) struct Repository {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The repository
    #[arg(long, value_name = "NAME")]
    repository: String,
}

/// Which secret.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    #[command(flatten)]
    of: Repository,
    /// The secret's name
    name: String,
}

/// Does it.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Key { out } => {
            let key = SecretKey::generate(out)?;
            println!("made the key {} in {}; name it as `key_file` below [secrets]", key.id(), out.display());
            Ok(())
        }
        Command::Set(named) => {
            let mut content = Vec::new();
            io::stdin().lock().take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
            with_forge(&named.of, async |forge| {
                forge.set_secret(&named.of.repository, &named.name, &content, super::FIRST_USER).await?;
                println!("set {} ({} bytes)", named.name, content.len());
                Ok(())
            })
        }
        Command::List(of) => with_forge(of, async |forge| {
            for secret in forge.secrets(&of.repository).await? {
                let at = jiff::Timestamp::from_millisecond(secret.updated_at_ms).unwrap_or_default();
                println!("{}  set by {} at {at:.0}", secret.name, secret.updated_by);
            }
            Ok(())
        }),
        Command::Rm(named) => with_forge(&named.of, async |forge| {
            forge.remove_secret(&named.of.repository, &named.name, super::FIRST_USER).await?;
            println!("removed {}", named.name);
            Ok(())
        }),
    }
}

fn with_forge(of: &Repository, work: impl AsyncFnOnce(Forge) -> Result<()>) -> Result<()> {
    let config = Config::load(&of.config)?;
    if !config.repositories.iter().any(|repository| repository.name == of.repository) {
        bail!("the configuration has no repository {:?}", of.repository);
    }
    super::runtime()?.block_on(async {
        let opened = super::open_store(&config)?;
        let forge = super::serve::open_beside(config, opened.store).await.context("open the forge")?;
        work(forge).await
    })
}
