//! One bare repository: how it is made, opened, and kept in order.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::branch::BranchName;
use crate::command::{Call, Git};
use crate::error::GitError;
use crate::oid::Oid;

/// What every repository of a forge is set to. Written into its configuration, so that a push over a file path is
/// treated as one over the network is.
const SETTINGS: &[(&str, &str)] = &[
    // A broken object is refused at the door, not found by the first merge.
    ("transfer.fsckObjects", "true"),
    ("uploadpack.allowFilter", "true"),
    // Where a branch was before a force push can be looked up.
    ("core.logAllRefUpdates", "true"),
    // What a push was told is stored is on the disk; one flush per push, not one per object.
    ("core.fsync", "committed,reference"),
    ("core.fsyncMethod", "batch"),
    // Two pushes at once wait for each other's locks for a moment.
    ("core.filesRefLockTimeout", "2000"),
    ("core.packedRefsTimeout", "2000"),
    // `Repository::maintain` packs, with a deadline. A push would leave a process behind that nobody watches.
    ("receive.autogc", "false"),
    ("gc.auto", "0"),
];

/// Runs before git stores a push, and may refuse it.
pub const PRE_RECEIVE: &str = "pre-receive";
/// Runs after git has stored a push.
pub const POST_RECEIVE: &str = "post-receive";
const HOOKS: [&str; 2] = [PRE_RECEIVE, POST_RECEIVE];

/// How long packing may take.
const MAINTAIN_DEADLINE: Duration = Duration::from_secs(3600);
/// How long a check of everything may take.
pub(crate) const FSCK_DEADLINE: Duration = Duration::from_secs(600);

/// One bare repository on this machine. Cheap to clone; holds no file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    path: PathBuf,
    git: Git,
}

impl Repository {
    /// Opens the repository at this path, with git where distributions install it.
    pub fn open(path: impl AsRef<Path>) -> Result<Repository, GitError> {
        Repository::open_with(&Git::default(), path)
    }

    /// Opens the repository at this path.
    pub fn open_with(git: &Git, path: impl AsRef<Path>) -> Result<Repository, GitError> {
        let path = path.as_ref();
        let missing = || GitError::NotARepository { path: path.to_owned() };
        let absolute = path.canonicalize().map_err(|_| missing())?;
        let is_bare = absolute.join("HEAD").is_file()
            && absolute.join("objects").is_dir()
            && absolute.join("refs").is_dir();
        if is_bare { Ok(Repository { path: absolute, git: git.clone() }) } else { Err(missing()) }
    }

    /// Another repository, with the same git.
    pub(crate) fn opened_beside(&self, path: impl AsRef<Path>) -> Result<Repository, GitError> {
        Repository::open_with(&self.git, path)
    }

    /// Makes a bare repository whose `HEAD` names `default_branch`, with git where distributions install it.
    pub async fn init(path: impl AsRef<Path>, default_branch: &BranchName) -> Result<Repository, GitError> {
        Repository::init_with(&Git::default(), path, default_branch).await
    }

    /// Makes a bare repository, or completes and opens the one that is there: its branches stay, its settings are
    /// brought up to date, its `HEAD` is set.
    pub async fn init_with(
        git: &Git,
        path: impl AsRef<Path>,
        default_branch: &BranchName,
    ) -> Result<Repository, GitError> {
        let path = path.as_ref();
        let folder = |source| GitError::Io { action: format!("create {}", path.display()), source };
        std::fs::create_dir_all(path).map_err(folder)?;
        let repository = Repository { path: path.canonicalize().map_err(folder)?, git: git.clone() };
        let branch = format!("--initial-branch={default_branch}");
        let init =
            repository.call("create a repository").arguments(["init", "--quiet", "--bare", "--template="]);
        init.argument(branch).output().await?;
        let present = repository.list_config().await?;
        for (name, value) in SETTINGS {
            // Git lists names in lower case.
            if !present.contains(&format!("{}\n{value}", name.to_ascii_lowercase())) {
                repository.set_config(name, value).await?;
            }
        }
        if repository.find_default_branch().await?.as_ref() != Some(default_branch) {
            let set = repository.call("set HEAD").arguments(["symbolic-ref", "HEAD"]);
            set.argument(default_branch.reference()).output().await?;
        }
        Repository::open_with(git, path)
    }

    /// Where it is; absolute, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `program` the hooks of a push, before and after it is stored, whatever they were before. Each takes effect
    /// at once and never half.
    pub fn install_hooks(&self, program: &Path) -> Result<(), GitError> {
        // What refuses a push is in place before what tells of one.
        HOOKS.iter().try_for_each(|name| self.install_hook(name, program))
    }

    fn install_hook(&self, name: &str, program: &Path) -> Result<(), GitError> {
        let hooks = self.path.join("hooks");
        let hook = hooks.join(name);
        if std::fs::read_link(&hook).is_ok_and(|installed| installed == program) {
            return Ok(());
        }
        let temporary = hooks.join(format!(".{name}.{}", std::process::id()));
        let install = || {
            std::fs::create_dir_all(&hooks)?;
            // Left by a process of the same number that was killed here.
            let _ = std::fs::remove_file(&temporary);
            symlink(program, &temporary)?;
            std::fs::rename(&temporary, &hook)
        };
        install().map_err(GitError::io(format!("install the hook {}", hook.display())))
    }

    /// Reads one value of the repository's configuration; `None` when it is not set.
    pub async fn find_config(&self, name: &str) -> Result<Option<String>, GitError> {
        let what = "read the configuration";
        let finished = self.call(what).arguments(["config", "--local", "--get", name]).run().await?;
        match finished.code {
            0 => Ok(Some(String::from_utf8_lossy(&finished.stdout).trim_end_matches('\n').to_owned())),
            1 => Ok(None),
            _ => Err(finished.into_error(what)),
        }
    }

    async fn list_config(&self) -> Result<Vec<String>, GitError> {
        let call = self.call("read the configuration").arguments(["config", "--local", "--list", "--null"]);
        let answer = call.output().await?;
        Ok(answer.split(|byte| *byte == 0).map(|entry| String::from_utf8_lossy(entry).into_owned()).collect())
    }

    /// Sets one value of the repository's configuration, unless it is set so already.
    pub async fn set_config(&self, name: &str, value: &str) -> Result<(), GitError> {
        if self.find_config(name).await?.as_deref() == Some(value) {
            return Ok(());
        }
        let call = self.call("write the configuration").arguments([
            "config",
            "--local",
            "--replace-all",
            name,
            value,
        ]);
        call.output().await.map(drop)
    }

    /// Packs what has piled up since the last time, when it is worth it, and drops what no reference has needed for
    /// two weeks. Safe beside pushes and fetches.
    pub async fn maintain(&self) -> Result<(), GitError> {
        let call = self
            .call("pack the repository")
            .setting("gc.auto=2000".to_owned())
            .setting("gc.autoDetach=false".to_owned())
            .arguments(["gc", "--auto", "--quiet"])
            .deadline(MAINTAIN_DEADLINE);
        call.output().await.map(drop)
    }

    /// Checks every object and reference; the error says what is broken.
    pub async fn fsck(&self) -> Result<(), GitError> {
        let call = self.call("check the repository").arguments([
            "fsck",
            "--strict",
            "--no-dangling",
            "--no-progress",
        ]);
        call.deadline(FSCK_DEADLINE).output().await.map(drop)
    }

    /// Whether the repository has this commit.
    pub async fn has_commit(&self, oid: &Oid) -> Result<bool, GitError> {
        let call = self.call("look for a commit").arguments(["cat-file", "-e", &format!("{oid}^{{commit}}")]);
        Ok(call.run().await?.code == 0)
    }

    /// Begins a call of git about this repository. `what` completes "git could not …".
    pub(crate) fn call(&self, what: &'static str) -> Call {
        Call::new(&self.git, &self.path, what)
    }

    /// Turns the failure of a call about commits into "not found" when it is because one is missing.
    pub(crate) async fn explain(&self, error: GitError, commits: &[&Oid]) -> GitError {
        if matches!(error, GitError::Failed { .. }) {
            for oid in commits {
                match self.has_commit(oid).await {
                    Ok(true) => {}
                    Ok(false) => return GitError::NotFound { what: format!("commit {oid}") },
                    Err(other) => return other,
                }
            }
        }
        error
    }
}

#[cfg(test)]
mod tests;
