//! The use cases of the forge, behind one handle. Pages, API, hook and scheduler all come through here.
//!
//! Invariants: what outlives a process is written down before it is done; what one repository's git or manifest does
//! never stops another; refs are compared with branches under one lock a repository, so that two pushes are taken in
//! one after the other.

mod act;
mod check;
mod commits;
mod conflicts;
mod error;
pub mod event;
pub(crate) mod health;
pub mod id;
mod list;
mod merge;
pub mod nightly;
mod policy;
pub mod push_rules;
mod read;
mod receive_push;
mod reload;
mod secret;
pub mod state;
pub mod tutorial;
pub mod view;
pub mod webhook;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use pika_git::{BranchName, Git, Repository};
use pika_tutorial::SettingsError;
use pikaci::StateRoot;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

pub use act::RerunScope;
pub(crate) use act::is_repeatable;
pub use error::ForgeError;
pub use list::RunsOf;
pub use receive_push::RefUpdate;
pub use reload::{Hooks, Reloaded};
pub use secret::SECRET_BYTES_MAX;

use crate::ci::Ci;
use crate::config::{Config, RepositoryConfig};
use crate::secrets::SecretKey;
use crate::store::Store;
use crate::tutorials::Tutorials;
use crate::webhooks::Webhooks;
use id::RepositoryId;
use push_rules::PushRules;
use view::Change;

/// How many changes a slow listener may be behind; it is told when it missed some.
const CHANGES_BEHIND_MAX: usize = 256;

/// The time, as it is handed in by the binary.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The folder in which `pikaci` keeps the runs of a repository: beside the bare repository, apart from all others.
pub fn pikaci_state_root(repository: &RepositoryConfig) -> PathBuf {
    repository.path.parent().unwrap_or(Path::new("/")).join("pikaci-state").join(repository.slug())
}

/// The forge. Clones share it.
#[derive(Clone)]
pub struct Forge {
    inner: Arc<Inner>,
}

struct Inner {
    git: Git,
    /// What is configured, and what is served of it: the two are replaced together.
    configured: RwLock<Configured>,
    /// Held while the two are made anew.
    reloading: tokio::sync::Mutex<()>,
    /// Why the configuration that was read last is not, or not wholly, the one that holds.
    config_problem: Mutex<Option<String>>,
    store: Store,
    clock: Clock,
    changes: broadcast::Sender<Change>,
    ci: Ci,
    tutorials: Tutorials,
    webhooks: Webhooks,
    progress: health::Progress,
    stage: watch::Sender<Stage>,
    secret_key: Option<SecretKey>,
    conflicts: conflicts::Conflicts,
    commits: commits::Commits,
}

/// How far the forge has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing runs.
    Open,
    /// What an earlier forge has left is taken up.
    Starting,
    /// All parts go round.
    Started,
}

#[derive(Clone)]
struct Configured {
    config: Arc<Config>,
    repositories: Arc<BTreeMap<String, Arc<Hosted>>>,
}

/// One repository that the forge serves, as it is configured now.
pub(crate) struct Hosted {
    pub(crate) id: RepositoryId,
    pub(crate) config: RepositoryConfig,
    pub(crate) default_branch: BranchName,
    pub(crate) git: Repository,
    /// Who may move which reference.
    pub(crate) rules: PushRules,
    pub(crate) state_root: StateRoot,
    /// What outlives a change of the configuration.
    pub(crate) live: Arc<HostedLive>,
    /// Set when the repository is configured otherwise, or no longer.
    pub(crate) replaced: CancellationToken,
}

/// What a repository's configuration has no part in.
#[derive(Default)]
pub(crate) struct HostedLive {
    /// Held while refs are compared with branches, and while one is merged.
    pub(crate) refs: tokio::sync::Mutex<()>,
    /// Told when a reference may have moved, or something else is to be told to the mirror.
    pub(crate) moved: tokio::sync::Notify,
    /// Whether somebody asked for a round of the mirror now.
    mirror_wanted: AtomicBool,
    /// How many rounds of the mirror are over.
    pub(crate) mirror_rounds: watch::Sender<u64>,
    /// Held by who keeps the mirror.
    pub(crate) mirroring: tokio::sync::Mutex<()>,
    /// Why the refs could not be compared lately.
    problem: Mutex<Option<String>>,
}

impl Hosted {
    pub(crate) fn is_default(&self, branch: &str) -> bool {
        branch == self.default_branch.as_str()
    }

    pub(crate) fn is_mirror_wanted(&self) -> bool {
        self.live.mirror_wanted.load(Ordering::Relaxed)
    }

    pub(crate) fn set_mirror_wanted(&self, is_wanted: bool) {
        self.live.mirror_wanted.store(is_wanted, Ordering::Relaxed);
    }

    pub(crate) fn find_problem(&self) -> Option<String> {
        self.live.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_problem(&self, problem: Option<String>) {
        *self.live.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

impl Forge {
    /// Opens the forge, with git where distributions install it.
    pub async fn open(config: Config, store: Store, clock: Clock, ci: Ci) -> Result<Forge, ForgeError> {
        Forge::open_with(&Git::default(), config, store, clock, ci).await
    }

    /// Opens the forge: makes the repositories that are missing and gives each its rows. Runs nothing yet.
    pub async fn open_with(
        git: &Git,
        config: Config,
        store: Store,
        clock: Clock,
        ci: Ci,
    ) -> Result<Forge, ForgeError> {
        let mut repositories = BTreeMap::new();
        for repository in &config.repositories {
            let hosted = open_repository(git, repository, &store, &clock, None).await?;
            repositories.insert(repository.name.clone(), Arc::new(hosted));
        }
        let secret_key = secret::load_key(config.secrets.key_file.as_deref())?;
        let (changes, _) = broadcast::channel(CHANGES_BEHIND_MAX);
        let unusable = |error: SettingsError| ForgeError::Invalid { problem: format!("[tutorial]: {error}") };
        let tutorials = Tutorials::new(&config.tutorial).map_err(unusable)?;
        Ok(Forge {
            inner: Arc::new(Inner {
                git: git.clone(),
                configured: RwLock::new(Configured {
                    config: Arc::new(config),
                    repositories: Arc::new(repositories),
                }),
                reloading: tokio::sync::Mutex::new(()),
                config_problem: Mutex::new(None),
                store,
                clock,
                changes,
                ci,
                tutorials,
                webhooks: Webhooks::default(),
                progress: health::Progress::default(),
                stage: watch::Sender::new(Stage::Open),
                secret_key,
                conflicts: conflicts::Conflicts::new(),
                commits: commits::Commits::new(),
            }),
        })
    }

    /// The configuration that holds now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.configured().config)
    }

    fn configured(&self) -> RwLockReadGuard<'_, Configured> {
        self.inner.configured.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_name(&self) -> Arc<BTreeMap<String, Arc<Hosted>>> {
        Arc::clone(&self.configured().repositories)
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Follows what changes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Opens the bare repository of this name.
    pub fn git(&self, repository: &str) -> Result<Repository, ForgeError> {
        Ok(self.hosted(repository)?.git.clone())
    }

    /// The state root of the repository of this name.
    pub fn state_root(&self, repository: &str) -> Result<StateRoot, ForgeError> {
        Ok(self.hosted(repository)?.state_root.clone())
    }

    /// The names of the repositories, sorted.
    pub fn repository_names(&self) -> Vec<String> {
        self.by_name().keys().cloned().collect()
    }

    /// Finds the repository at this path: what a hook knows.
    pub fn find_repository_at(&self, path: &Path) -> Option<String> {
        let is_at = |hosted: &Hosted| {
            hosted.config.path == path || hosted.config.path.canonicalize().is_ok_and(|found| found == path)
        };
        let repositories = self.by_name();
        let found = repositories.iter().find(|(_, hosted)| is_at(hosted));
        found.map(|(name, _)| name.clone())
    }

    pub(crate) fn hosted(&self, name: &str) -> Result<Arc<Hosted>, ForgeError> {
        let found = self.configured().repositories.get(name).cloned();
        found.ok_or_else(|| ForgeError::not_found(format!("repository {name:?}")))
    }

    pub(crate) fn all_hosted(&self) -> Vec<Arc<Hosted>> {
        self.by_name().values().cloned().collect()
    }

    /// Finds a repository by its number; `None` when it is no longer configured.
    pub(crate) fn hosted_by_id(&self, id: RepositoryId) -> Option<Arc<Hosted>> {
        self.by_name().values().find(|hosted| hosted.id == id).cloned()
    }

    pub(crate) fn ci(&self) -> &Ci {
        &self.inner.ci
    }

    pub(crate) fn tutorials(&self) -> &Tutorials {
        &self.inner.tutorials
    }

    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.inner.webhooks
    }

    pub(crate) fn progress(&self) -> &health::Progress {
        &self.inner.progress
    }

    pub(crate) fn stage(&self) -> &watch::Sender<Stage> {
        &self.inner.stage
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.now().as_millisecond()
    }

    /// Tells the listeners. Nobody listening is fine.
    pub(crate) fn announce(&self, change: Change) {
        if let Ok(hosted) = self.hosted(&change.repository) {
            hosted.live.moved.notify_one();
        }
        let _ = self.inner.changes.send(change);
    }
}

async fn open_repository(
    program: &Git,
    config: &RepositoryConfig,
    store: &Store,
    clock: &Clock,
    before: Option<&Hosted>,
) -> Result<Hosted, ForgeError> {
    let problem = |error: pika_git::BranchNameError| ForgeError::Invalid { problem: error.to_string() };
    let default_branch = BranchName::parse(&config.default_branch).map_err(problem)?;
    if let Some(parent) = config.path.parent() {
        std::fs::create_dir_all(parent)
            .map_err(ForgeError::io(format!("make the folder {}", parent.display())))?;
    }
    let git = Repository::init_with(program, &config.path, &default_branch).await?;
    let id = store.ensure_repository(&config.name, clock().as_millisecond()).await?;
    Ok(Hosted {
        id,
        config: config.clone(),
        rules: PushRules::new(&default_branch, &config.rules),
        default_branch,
        git,
        state_root: StateRoot::new(pikaci_state_root(config)),
        live: before.map_or_else(Default::default, |before| Arc::clone(&before.live)),
        replaced: CancellationToken::new(),
    })
}

#[cfg(test)]
mod tests;
