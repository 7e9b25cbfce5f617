//! git, as a developer has it, without this machine's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A clone that a test commits in and pushes from.
pub struct WorkTree {
    folder: TempDir,
}

/// How a push ended.
#[derive(Debug)]
pub struct Pushed {
    /// Whether git was content.
    pub is_accepted: bool,
    /// What git printed, with what the forge said.
    pub output: String,
}

impl Pushed {
    /// The number of the branch whose page the forge names.
    #[track_caller]
    pub fn branch_id(&self) -> String {
        let id = self.output.split_once("/branch/").map(|(_, rest)| rest);
        let id = id.and_then(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next());
        id.filter(|id| !id.is_empty())
            .unwrap_or_else(|| panic!("no branch page in {}", self.output))
            .to_owned()
    }
}

impl WorkTree {
    /// An empty repository with the branch `main`; `remote` is called `origin`.
    #[track_caller]
    pub fn new(remote: &str) -> WorkTree {
        let tree = WorkTree { folder: tempfile::tempdir().expect("a temporary folder can be made") };
        tree.git(&["init", "--quiet", "--initial-branch=main"]);
        tree.git(&["remote", "add", "origin", remote]);
        tree
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs git; panics with what it said when it fails. Returns its output without the last line break.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = git(self.path(), arguments);
        let (text, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "git {arguments:?}: {error}");
        text.trim_end().to_owned()
    }

    /// Writes a file, making its folders.
    #[track_caller]
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &WorkTree {
        write(self.path(), path, text.as_ref());
        self
    }

    /// Commits everything; returns the commit.
    #[track_caller]
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// The commit that is checked out.
    #[track_caller]
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Starts a branch at `from` and checks it out.
    #[track_caller]
    pub fn branch(&self, name: &str, from: &str) -> &WorkTree {
        self.git(&["switch", "--quiet", "--create", name, from]);
        self
    }

    /// Pushes, expecting success. `refspec` is a branch's name or `from:to`, with `+` before it to force.
    #[track_caller]
    pub fn push(&self, refspec: &str) -> Pushed {
        let pushed = self.try_push(refspec);
        assert!(pushed.is_accepted, "{}", pushed.output);
        pushed
    }

    /// Pushes.
    #[track_caller]
    pub fn try_push(&self, refspec: &str) -> Pushed {
        let output = git(self.path(), &["push", "origin", refspec]);
        Pushed {
            is_accepted: output.status.success(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

#[track_caller]
fn git(folder: &Path, arguments: &[&str]) -> Output {
    hermetic(folder).args(arguments).output().expect("git runs")
}

/// git in a folder, with nothing of this machine's environment or configuration.
fn hermetic(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear().current_dir(folder);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs([
        ("HOME", "/nonexistent"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_AUTHOR_NAME", "Ada"),
        ("GIT_AUTHOR_EMAIL", "ada@example.org"),
        ("GIT_COMMITTER_NAME", "Ada"),
        ("GIT_COMMITTER_EMAIL", "ada@example.org"),
        ("LC_ALL", "C"),
    ]);
    command
}

/// Makes `folder` a repository with one commit of these files.
#[track_caller]
pub(crate) fn init_with(folder: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        write(folder, path, text.as_bytes());
    }
    let steps: [&[&str]; 3] = [
        &["init", "--quiet", "--initial-branch=main"],
        &["add", "--all"],
        &["commit", "--quiet", "--message=Begin"],
    ];
    for arguments in steps {
        let output = git(folder, arguments);
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[track_caller]
pub(crate) fn write(folder: &Path, path: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap_or(folder)).expect("a folder can be made");
    fs::write(&path, content).expect("a file can be written");
    path
}
