//! A running daemon, as its clients see it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::{Programs, Project, TestbedError, http};

/// Names the `INCUS_DIR` of the daemon that all test programs share.
pub const INCUS_DIR_VARIABLE: &str = "PIKA_TEST_INCUS_DIR";

/// No command of a test takes this long; what does is broken.
const CLIENT_DEADLINE_S: &str = "120";

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A daemon that somebody else keeps running.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// The Unix socket of the REST API.
    pub socket: PathBuf,
    /// Where the daemon keeps everything.
    pub incus_dir: PathBuf,
}

impl Daemon {
    /// The daemon of a folder.
    pub fn of(incus_dir: &Path) -> Daemon {
        Daemon { socket: incus_dir.join("unix.socket"), incus_dir: incus_dir.to_owned() }
    }

    /// The daemon that the variable `PIKA_TEST_INCUS_DIR` names, if it is set.
    pub fn from_environment() -> Option<Daemon> {
        let incus_dir = std::env::var_os(INCUS_DIR_VARIABLE)?;
        Some(Daemon::of(Path::new(&incus_dir)))
    }

    /// The daemon that all test programs share. Each uses [projects](Daemon::project) of its own.
    ///
    /// # Panics
    /// When there is none: a test that needs one must not pass without it.
    #[track_caller]
    pub fn shared() -> Daemon {
        Daemon::from_environment().unwrap_or_else(|| {
            panic!(
                "{INCUS_DIR_VARIABLE} is not set: run `cargo xtask test`, or `cargo xtask with-incus cargo test -p \
                 {}`",
                std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "CRATE".to_owned())
            )
        })
    }

    /// The command line client, told of this daemon and of nobody's configuration. It shows no progress, reads no
    /// input, and is ended when it takes too long.
    pub fn command(&self) -> Result<Command, TestbedError> {
        let client = Programs::find()?.client;
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", CLIENT_DEADLINE_S]).arg(client).arg("--quiet").stdin(Stdio::null());
        for variable in ["INCUS_SOCKET", "INCUS_REMOTE", "INCUS_PROJECT"] {
            command.env_remove(variable);
        }
        command.env("INCUS_DIR", &self.incus_dir).env("INCUS_CONF", self.incus_dir.with_extension("client"));
        Ok(command)
    }

    /// Runs the command line client to its end, whatever that is.
    pub fn output(&self, arguments: &[&str]) -> Result<Output, TestbedError> {
        self.command()?.args(arguments).output().map_err(TestbedError::io("run the client `incus`"))
    }

    /// Runs the command line client and returns what it printed. An error when it fails.
    pub fn incus(&self, arguments: &[&str]) -> Result<String, TestbedError> {
        let output = self.output(arguments)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = [output.stderr, output.stdout].concat();
        Err(TestbedError::Client {
            arguments: arguments.join(" "),
            message: String::from_utf8_lossy(&message).trim().to_owned(),
        })
    }

    /// Makes a project with a name of its own; with it goes everything in it.
    pub fn project(&self, prefix: &str) -> Result<Project, TestbedError> {
        Project::create(self, prefix)
    }

    /// Waits until requests are answered and instances can be started.
    pub(crate) fn wait_until_ready(&self, pid: u32, deadline: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < deadline {
            let left = deadline.saturating_sub(start.elapsed()).max(POLL_INTERVAL);
            let is_ok = |path| http::is_ok(&self.socket, path, left).unwrap_or(false);
            // Answers 200 when all of the start is done (incus, cmd/incusd/api_internal.go, "ready").
            if is_ok("/1.0") && is_ok("/internal/ready") {
                return true;
            }
            if !is_alive(pid) {
                return false;
            }
            thread::sleep(POLL_INTERVAL);
        }
        false
    }
}

/// Whether a process is there and no zombie.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    // proc(5): the state follows the name, which is in parentheses and may hold anything.
    let state = stat.ok().and_then(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()));
    state.is_some_and(|state| state != 'Z' && state != 'X')
}
