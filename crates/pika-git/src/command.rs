//! Builds one call of git: its arguments, its environment, its deadline.
//!
//! Invariant: nothing of the caller's environment or of the machine's git configuration reaches git, and no hook runs,
//! unless the call asks for it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::process::ChildStdout;

use crate::error::GitError;
use crate::process::{self, Finished, Running};

/// How long a question about a repository may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How much git may answer to a question.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// Where git is looked for unless the binary says otherwise.
const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin";
/// Who moved a reference, for its log, unless the call says otherwise.
const REFLOG_NAME: &str = "pika";

/// The git program, and where it and what it calls are looked for. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Git {
    search_path: Arc<OsStr>,
}

impl Git {
    /// Looks for git in `search_path`, written as the variable `PATH` is.
    pub fn new(search_path: impl AsRef<OsStr>) -> Git {
        Git { search_path: search_path.as_ref().into() }
    }

    pub(crate) fn search_path(&self) -> String {
        self.search_path.to_string_lossy().into_owned()
    }
}

impl Default for Git {
    /// Looks for git where distributions install it.
    fn default() -> Git {
        Git::new(SEARCH_PATH)
    }
}

/// One call of git, being built.
pub(crate) struct Call {
    pub(crate) what: &'static str,
    pub(crate) git: Git,
    pub(crate) deadline: Duration,
    pub(crate) output_bytes_max: u64,
    pub(crate) input: Vec<u8>,
    repository: PathBuf,
    folder: PathBuf,
    hooks: PathBuf,
    settings: Vec<String>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// The variables that lead git to a person's own configuration, when the call is on their behalf.
    configuration: Option<Vec<(OsString, OsString)>>,
}

impl Call {
    /// Begins a call about the repository at this absolute path. `what` completes "git could not …".
    pub(crate) fn new(git: &Git, repository: &Path, what: &'static str) -> Call {
        Call {
            what,
            git: git.clone(),
            deadline: DEADLINE,
            output_bytes_max: OUTPUT_BYTES_MAX,
            input: Vec::new(),
            repository: repository.to_owned(),
            folder: PathBuf::from("/"),
            hooks: PathBuf::from("/dev/null"),
            settings: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            configuration: None,
        }
    }

    pub(crate) fn argument(mut self, argument: impl AsRef<OsStr>) -> Call {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn arguments<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, arguments: I) -> Call {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Call {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs in this folder: paths among the arguments are relative to it.
    pub(crate) fn in_folder(mut self, folder: &Path) -> Call {
        self.folder = folder.to_owned();
        self
    }

    /// Lets git read the configuration that these variables lead to: what a person ignores everywhere is in it.
    pub(crate) fn with_configuration(mut self, variables: &[(OsString, OsString)]) -> Call {
        self.configuration = Some(variables.to_vec());
        self
    }

    pub(crate) fn setting(mut self, setting: String) -> Call {
        self.settings.push(setting);
        self
    }

    pub(crate) fn input(mut self, input: Vec<u8>) -> Call {
        self.input = input;
        self
    }

    pub(crate) fn deadline(mut self, deadline: Duration) -> Call {
        self.deadline = deadline;
        self
    }

    pub(crate) fn output_bytes_max(mut self, bytes_max: u64) -> Call {
        self.output_bytes_max = bytes_max;
        self
    }

    /// Lets the repository's own hooks run.
    pub(crate) fn with_hooks(mut self) -> Call {
        self.hooks = self.repository.join("hooks");
        self
    }

    /// Runs to the end and returns the exit code with the output, whatever the code is.
    pub(crate) async fn run(self) -> Result<Finished, GitError> {
        process::run(self).await
    }

    /// Runs to the end and returns the output; an exit code other than 0 is [`GitError::Failed`].
    pub(crate) async fn output(self) -> Result<Vec<u8>, GitError> {
        let what = self.what;
        let finished = self.run().await?;
        if finished.code == 0 { Ok(finished.stdout) } else { Err(finished.into_error(what)) }
    }

    /// Starts, for an answer that is read while it is written.
    pub(crate) fn start(self) -> Result<(Running, BufReader<ChildStdout>), GitError> {
        Running::start(&self)
    }

    /// The process: a group of its own, every stream a pipe.
    pub(crate) fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("git");
        command.env_clear().env("PATH", &*self.git.search_path);
        for (name, value) in [
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_AUTHOR_NAME", REFLOG_NAME),
            ("GIT_AUTHOR_EMAIL", REFLOG_NAME),
            ("GIT_COMMITTER_NAME", REFLOG_NAME),
            ("GIT_COMMITTER_EMAIL", REFLOG_NAME),
        ] {
            command.env(name, value);
        }
        if let Some(variables) = &self.configuration {
            for name in ["HOME", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL"] {
                command.env_remove(name);
            }
            command.envs(variables.iter().map(|(name, value)| (name, value)));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // The repository may belong to another user; whoever configured it has vouched for it.
        command.arg("-c").arg(with_value("safe.directory=", &self.repository));
        command.arg("-c").arg(with_value("core.hooksPath=", &self.hooks));
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        command
            .arg(with_value("--git-dir=", &self.repository))
            .args(["--literal-pathspecs", "--no-replace-objects"]);
        command.args(&self.arguments).current_dir(&self.folder).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn with_value(name: &str, path: &Path) -> OsString {
    let mut text = OsString::from(name);
    text.push(path);
    text
}
