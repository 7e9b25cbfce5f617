//! Another configuration, without a restart, as far as that is safe.
//!
//! Invariants: all of it is opened before any of it holds, so that a repository that can't be opened changes nothing; what has
//! begun goes on as it was configured when it began; what waits for a restart is told by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use pika_git::Repository;

use super::{Configured, Forge, ForgeError, open_repository};
use crate::config::Config;
use crate::hook;

/// What became of another configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The repositories that are served from now on.
    pub added: Vec<String>,
    /// Those that are configured otherwise than before.
    pub changed: Vec<String>,
    /// Those that are served no longer. Nothing of them was deleted.
    pub removed: Vec<String>,
    /// The settings that wait for a restart.
    pub waiting: Vec<&'static str>,
}

/// How hooks reach the forge.
#[derive(Clone, Copy, Debug)]
pub struct Hooks<'p> {
    /// The program that they are.
    pub program: &'p Path,
    /// The forge's socket.
    pub socket: &'p Path,
}

impl Hooks<'_> {
    async fn install(self, git: &Repository) -> Result<(), ForgeError> {
        git.install_hooks(self.program)?;
        git.set_config(hook::SOCKET_SETTING, &self.socket.to_string_lossy()).await?;
        Ok(())
    }
}

impl Forge {
    /// Lets the hooks of all repositories ask this forge.
    pub async fn install_hooks(&self, hooks: Hooks<'_>) -> Result<(), ForgeError> {
        for hosted in self.all_hosted() {
            hooks.install(&hosted.git).await?;
        }
        Ok(())
    }

    /// Lets another configuration hold. What of it can't without a restart stays as it is; `waiting` are the names of that.
    ///
    /// The hooks of a repository that is opened anew ask us before any of it holds. What has to change elsewhere, `hold` changes;
    /// it can't fail.
    pub async fn reload(
        &self,
        config: &Config,
        waiting: Vec<&'static str>,
        hooks: Hooks<'_>,
        hold: impl FnOnce(&Config, BTreeMap<String, Repository>),
    ) -> Result<Reloaded, ForgeError> {
        let _one = self.inner.reloading.lock().await;
        let (before, config) = (self.by_name(), self.config().with_reloadable(config));
        let mut reloaded = Reloaded { waiting, ..Reloaded::default() };
        let mut repositories = BTreeMap::new();
        let mut opened = Vec::new();
        for repository in &config.repositories {
            let name = repository.name.clone();
            let earlier = before.get(&name);
            let hosted = match earlier {
                Some(earlier) if earlier.config == *repository => Arc::clone(earlier),
                _ => {
                    let changes = if earlier.is_some() { &mut reloaded.changed } else { &mut reloaded.added };
                    changes.push(name.clone());
                    let earlier = earlier.map(Arc::as_ref);
                    let (git, clock) = (&self.inner.git, &self.inner.clock);
                    let hosted =
                        Arc::new(open_repository(git, repository, self.store(), clock, earlier).await?);
                    hooks.install(&hosted.git).await?;
                    opened.push(Arc::clone(&hosted));
                    hosted
                }
            };
            repositories.insert(name, hosted);
        }
        let gone = before.keys().filter(|name| !repositories.contains_key(*name));
        reloaded.removed = gone.cloned().collect();
        self.ci().set_config(config.ci.clone());
        // A repository that is not public any more is nobody's before it is anything else.
        hold(&config, repositories.iter().map(|(name, hosted)| (name.clone(), hosted.git.clone())).collect());
        let after = Configured { config: Arc::new(config), repositories: Arc::new(repositories) };
        *self.inner.configured.write().unwrap_or_else(PoisonError::into_inner) = after;
        for name in reloaded.changed.iter().chain(&reloaded.removed) {
            before[name].replaced.cancel();
        }
        for hosted in opened {
            // What failed by another configuration may do by this one.
            hosted.set_mirror_wanted(hosted.config.mirror.is_some());
            self.start_mirror(&hosted);
        }
        let wait = (!reloaded.waiting.is_empty()).then(|| {
            format!(
                "{} in the configuration changed; restart the forge to let it hold",
                reloaded.waiting.join(", ")
            )
        });
        self.set_config_problem(wait);
        // There may be more slots, and lanes of a repository that was away.
        self.ci().wake();
        Ok(reloaded)
    }

    /// Why the configuration that was read last is not, or not wholly, the one that holds.
    pub(crate) fn find_config_problem(&self) -> Option<String> {
        self.inner.config_problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why the configuration that was read last is not the one that holds.
    pub fn set_config_problem(&self, problem: Option<String>) {
        *self.inner.config_problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}
