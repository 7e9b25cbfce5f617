//! Copies a forge into a folder while it serves, and makes one of such a folder.
//!
//! Invariants: a backup has its name only when it is whole; the database is copied before the repositories and the runs, so
//! that all it speaks of is there, and what is newer is found as a push is; a backup is restored only if every file of it is
//! what it was; a restore never writes over a forge, and its
//! database comes last, so that half a restore is no forge.

mod checksums;
mod tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pika_git::{Git, GitError, Repository};
use serde::{Deserialize, Serialize};

use crate::config::{Config, RepositoryConfig};
use crate::forge::pikaci_state_root;
use crate::store::{self, Store, StoreError};
pub use tree::Skip;

/// The version of the layout below.
const VERSION: u32 = 1;
const DESCRIPTION: &str = "backup.json";
const DATABASE: &str = "pika-news.sqlite";
/// In the folder of a backup while it is made.
const UNFINISHED: &str = "unfinished";
/// In the data folder while a restore is under way: the paths that it makes, one a line.
const RESTORING: &str = "restoring";

/// What a backup says of itself, in `backup.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDescription {
    /// The version of its layout.
    pub version: u32,
    /// Which program made it.
    pub pika_news: String,
    /// When it was begun.
    pub created_at: Timestamp,
    /// Whether the frozen trees and prepared outputs of runs are in it.
    pub has_snapshots: bool,
    /// Whether there is a list of what each file was, in `files.sha256`. Backups of before there was one have none.
    #[serde(default)]
    pub has_checksums: bool,
    /// Its repositories.
    pub repositories: Vec<BackedUp>,
}

/// One repository in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUp {
    /// Its name.
    pub name: String,
    /// Its folder, below `repositories` and `runs`.
    pub slug: String,
    /// How many references it has.
    pub references: usize,
    /// How many runs.
    pub runs: usize,
}

/// Why something could not be backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something has the name already.
    #[error("{} is there already; name a folder that is not", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// There is a forge where one was to be restored.
    #[error("{} holds a forge already; restore into an empty data folder", path.display())]
    HasForge {
        /// The data folder.
        path: PathBuf,
    },
    /// The folder is no backup, or not a whole one.
    #[error("{} is no whole backup of a forge: {why}", path.display())]
    NotABackup {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration and the backup have nothing to do with each other.
    #[error(
        "the backup has the repository {name:?}, which the configuration does not name; add it, and restore again"
    )]
    NotConfigured {
        /// The repository.
        name: String,
    },
    /// A repository could not be read whole.
    #[error("the repository {name:?} could not be copied or checked")]
    Git {
        /// The repository.
        name: String,
        /// Why.
        source: GitError,
    },
    /// The database could not be copied.
    #[error("the database could not be copied")]
    Store(#[from] StoreError),
    /// A file could not be copied.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: String,
        /// Why.
        source: io::Error,
    },
}

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> BackupError {
    let action = action.into();
    move |source| BackupError::Io { action, source }
}

/// Copies a forge into `to`, which is not there yet. Other programs may use the forge meanwhile.
pub async fn back_up(
    git: &Git,
    config: &Config,
    store: &Store,
    to: &Path,
    has_snapshots: bool,
) -> Result<BackupDescription, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    let unfinished = with_suffix(to, "unfinished");
    // What an earlier one left that was killed; nothing else of that name.
    if unfinished.exists() {
        if !unfinished.join(UNFINISHED).exists() {
            return Err(BackupError::Exists { path: unfinished });
        }
        fs::remove_dir_all(&unfinished).map_err(failed("remove what an earlier backup left"))?;
    }
    fs::create_dir_all(&unfinished).map_err(failed(format!("make the folder {}", unfinished.display())))?;
    fs::write(unfinished.join(UNFINISHED), "").map_err(failed("begin the backup"))?;
    for folder in ["repositories", "runs"] {
        let folder = unfinished.join(folder);
        fs::create_dir_all(&folder).map_err(failed(format!("make the folder {}", folder.display())))?;
    }
    let created_at = Timestamp::now();
    store.copy_to(&unfinished.join(DATABASE)).await?;
    let mut repositories = Vec::new();
    for repository in &config.repositories {
        repositories.push(back_up_repository(git, repository, &unfinished, has_snapshots).await?);
    }
    let description = BackupDescription {
        version: VERSION,
        pika_news: env!("CARGO_PKG_VERSION").to_owned(),
        created_at,
        has_snapshots,
        has_checksums: true,
        repositories,
    };
    let text = serde_json::to_vec_pretty(&description)
        .map_err(|error| failed("describe the backup")(error.into()))?;
    fs::write(unfinished.join(DESCRIPTION), text).map_err(failed("describe the backup"))?;
    fs::remove_file(unfinished.join(UNFINISHED)).map_err(failed("end the backup"))?;
    let folder = unfinished.clone();
    blocking(move || checksums::write(&folder)).await.map_err(failed("list what each file is"))?;
    tree::flush(&unfinished).map_err(failed("flush the backup to the disk"))?;
    fs::rename(&unfinished, to).map_err(failed("give the backup its name"))?;
    Ok(description)
}

async fn back_up_repository(
    git: &Git,
    config: &RepositoryConfig,
    to: &Path,
    has_snapshots: bool,
) -> Result<BackedUp, BackupError> {
    let (name, slug) = (config.name.clone(), config.slug());
    let of_git = |source| BackupError::Git { name: name.clone(), source };
    let repository = Repository::open_with(git, &config.path).map_err(of_git)?;
    let references =
        repository.copy_to(&to.join("repositories").join(format!("{slug}.git"))).await.map_err(of_git)?;
    let (from, target) = (pikaci_state_root(config), to.join("runs").join(&slug));
    let skip = if has_snapshots { Skip::Locks } else { Skip::LocksAndSnapshots };
    let action = failed(format!("copy the runs of {name}"));
    let runs = blocking(move || {
        tree::copy(&from, &target, skip)?;
        tree::count(&target.join("runs"))
    });
    Ok(BackedUp { name: name.clone(), slug, references, runs: runs.await.map_err(action)? })
}

/// Reads and checks a backup: its description, its database, and that its repositories are whole.
pub async fn check(git: &Git, from: &Path) -> Result<BackupDescription, BackupError> {
    let not_a_backup = |why: String| BackupError::NotABackup { path: from.to_owned(), why };
    let text =
        fs::read(from.join(DESCRIPTION)).map_err(|error| not_a_backup(format!("{DESCRIPTION}: {error}")))?;
    let description: BackupDescription =
        serde_json::from_slice(&text).map_err(|error| not_a_backup(format!("{DESCRIPTION}: {error}")))?;
    if description.version > VERSION {
        let found = description.version;
        return Err(not_a_backup(format!(
            "its version is {found}, and this pika-news reads up to {VERSION}; upgrade"
        )));
    }
    if description.has_checksums {
        let folder = from.to_owned();
        let damaged = blocking(move || checksums::find_damage(&folder)).await;
        if let Some(file) = damaged.map_err(failed("compare the files with files.sha256"))? {
            return Err(not_a_backup(format!(
                "{} is not what it was, or gone; take another",
                file.display()
            )));
        }
    }
    let database = from.join(DATABASE);
    blocking(move || Ok(store::check_file(&database))).await.map_err(failed("check the database"))??;
    for repository in &description.repositories {
        let of_git = |source| BackupError::Git { name: repository.name.clone(), source };
        if !is_slug(&repository.slug) {
            return Err(not_a_backup(format!("{:?} is no folder of it", repository.slug)));
        }
        let path = from.join("repositories").join(format!("{}.git", repository.slug));
        Repository::open_with(git, path).map_err(of_git)?.check_connected().await.map_err(of_git)?;
    }
    Ok(description)
}

/// Makes the forge of a configuration out of a backup. What was killed in the middle can be begun again.
pub async fn restore(git: &Git, config: &Config, from: &Path) -> Result<BackupDescription, BackupError> {
    let description = check(git, from).await?;
    let (data, marker) = (&config.data, config.data.join(RESTORING));
    let find = |name: &str| config.repositories.iter().find(|repository| repository.name == name);
    let mut targets = Vec::new();
    for repository in &description.repositories {
        let missing = || BackupError::NotConfigured { name: repository.name.clone() };
        targets.push((repository, find(&repository.name).ok_or_else(missing)?));
    }
    if data.join(DATABASE).exists() {
        return Err(BackupError::HasForge { path: data.clone() });
    }
    // What an earlier restore noted that it makes, it may have made in part; whatever else is there is somebody's.
    let noted = fs::read_to_string(&marker).unwrap_or_default();
    let is_ours = |path: &Path| noted.lines().any(|line| Path::new(line) == path);
    let mut made = String::new();
    for (_, config) in &targets {
        for path in [config.path.clone(), pikaci_state_root(config)] {
            for path in [with_suffix(&path, RESTORING), path] {
                if path.exists() && !is_ours(&path) {
                    return Err(BackupError::Exists { path });
                }
                made.push_str(&format!("{}\n", path.display()));
            }
        }
    }
    fs::create_dir_all(data).map_err(failed(format!("make the folder {}", data.display())))?;
    fs::write(&marker, made).map_err(failed("note that a restore is under way"))?;
    for (repository, config) in targets {
        restore_repository(git, repository, config, from).await?;
    }
    // The database makes it a forge.
    let (database, copied) = (data.join(DATABASE), data.join(format!("{DATABASE}.{RESTORING}")));
    fs::copy(from.join(DATABASE), &copied).map_err(failed("copy the database"))?;
    tree::flush(data).map_err(failed("flush the restored forge to the disk"))?;
    fs::rename(&copied, &database).map_err(failed("give the database its name"))?;
    fs::remove_file(&marker).map_err(failed("note that the restore is over"))?;
    Ok(description)
}

async fn restore_repository(
    git: &Git,
    backed_up: &BackedUp,
    config: &RepositoryConfig,
    from: &Path,
) -> Result<(), BackupError> {
    let name = &backed_up.name;
    let of_git = |source| BackupError::Git { name: name.clone(), source };
    let action = || failed(format!("restore {name}"));
    let state = pikaci_state_root(config);
    for path in [&config.path, &state] {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(action())?;
        }
        // Of a restore that was killed.
        for left in [with_suffix(path, RESTORING), path.clone()] {
            if left.exists() {
                fs::remove_dir_all(&left).map_err(action())?;
            }
        }
    }
    let copied = with_suffix(&config.path, RESTORING);
    let source = from.join("repositories").join(format!("{}.git", backed_up.slug));
    Repository::open_with(git, source).map_err(of_git)?.copy_to(&copied).await.map_err(of_git)?;
    fs::rename(&copied, &config.path).map_err(action())?;
    let (runs, copied) = (from.join("runs").join(&backed_up.slug), with_suffix(&state, RESTORING));
    let target = copied.clone();
    blocking(move || tree::copy(&runs, &target, Skip::Locks)).await.map_err(action())?;
    fs::rename(&copied, &state).map_err(action())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    path.with_file_name(name)
}

fn is_slug(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
