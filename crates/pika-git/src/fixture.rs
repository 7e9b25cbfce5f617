//! Real repositories for the tests of this crate, made with the real git.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{BranchName, Oid, Repository};

/// A bare repository and a working copy of it, in a scratch folder.
pub(crate) struct Fixture {
    pub(crate) scratch: TempDir,
    pub(crate) bare: Repository,
}

impl Fixture {
    pub(crate) async fn new() -> Fixture {
        let scratch = tempfile::tempdir().unwrap();
        let bare = Repository::init(scratch.path().join("bare.git"), &branch("main")).await.unwrap();
        let fixture = Fixture { scratch, bare };
        fixture.git(&["init", "--quiet", "--initial-branch=main", "."]);
        fixture.git(&["remote", "add", "origin", "../bare.git"]);
        fixture
    }

    pub(crate) fn work(&self) -> std::path::PathBuf {
        let work = self.scratch.path().join("work");
        std::fs::create_dir_all(&work).unwrap();
        work
    }

    /// Runs git in the working copy and returns what it printed.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = client(&self.work()).args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits everything in the working copy, pushes it to a branch of the bare repository, and returns the commit.
    pub(crate) fn push(&self, branch: &str, message: &str) -> Oid {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:refs/heads/{branch}")]);
        Oid::parse(&self.git(&["rev-parse", "HEAD"])).unwrap()
    }
}

/// A git client that knows nothing of this machine's configuration.
pub(crate) fn client(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").stdin(Stdio::null());
    command.env("HOME", "/nonexistent").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_AUTHOR_NAME", "Ada").env("GIT_AUTHOR_EMAIL", "ada@example.org");
    command.env("GIT_COMMITTER_NAME", "Ada").env("GIT_COMMITTER_EMAIL", "ada@example.org");
    command.env("GIT_AUTHOR_DATE", "@1700000000 +0000").env("GIT_COMMITTER_DATE", "@1700000000 +0000");
    command
}

pub(crate) fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}
