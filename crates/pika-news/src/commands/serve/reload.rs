//! The configuration, read again when SIGHUP asks for it.
//!
//! Invariant: a file with a mistake changes nothing; the forge goes on as it is, and says so where it is watched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use pika_git::Repository;
use pika_news::auth::Authenticator;
use pika_news::config::Config;
use pika_news::forge::{Forge, Hooks};
use pika_news::web::git_http::Repositories;
use tokio::signal::unix::Signal;

/// What another configuration has to reach.
pub(super) struct Reloader {
    /// The file, and what was read from it when the forge began.
    pub(super) file: Option<(PathBuf, Config)>,
    pub(super) forge: Forge,
    pub(super) authenticator: Authenticator,
    pub(super) repositories: Repositories,
    pub(super) hook_socket: PathBuf,
}

impl Reloader {
    /// Reads the configuration again whenever the signal comes, until it is dropped.
    pub(super) async fn listen(self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            let Some((file, begun)) = &self.file else {
                tracing::warn!("there is no configuration file that could be read again");
                continue;
            };
            if let Err(error) = self.reload(file, begun).await {
                tracing::error!(
                    "the configuration was not taken, and the forge goes on as it was: {error:#}"
                );
                let problem = "the configuration was read again and not taken; the log says why";
                self.forge.set_config_problem(Some(problem.to_owned()));
            }
        }
    }

    async fn reload(&self, file: &Path, begun: &Config) -> Result<()> {
        let read = Config::load(file)?;
        let waiting = begun.waiting_for_restart(&read);
        let hold = |config: &Config, repositories| {
            self.authenticator.set_public(config.public_repositories());
            self.repositories.set(repositories);
        };
        let program = std::env::current_exe()?;
        let hooks = Hooks { program: &program, socket: &self.hook_socket };
        let reloaded = self.forge.reload(&read, waiting, hooks, hold).await?;
        let (added, changed, removed) = (&reloaded.added, &reloaded.changed, &reloaded.removed);
        tracing::info!(?added, ?changed, ?removed, "the configuration was read again");
        if !reloaded.waiting.is_empty() {
            tracing::warn!("{} changed and will hold after a restart", reloaded.waiting.join(", "));
        }
        Ok(())
    }
}

/// The repositories that git is served of.
pub(super) fn served(forge: &Forge) -> Result<BTreeMap<String, Repository>> {
    forge.repository_names().into_iter().map(|name| Ok((name.clone(), forge.git(&name)?))).collect()
}
