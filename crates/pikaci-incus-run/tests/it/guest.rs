//! A guest to try the runner in: its folders, and the runner as a child process.
//!
//! Invariant: every wait has a deadline.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The runner as images have it, where `cargo xtask test` has built it; otherwise as cargo builds it for tests.
pub(crate) fn program() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_pikaci-incus-run"));
    std::env::var_os("PIKA_GUEST_RUNNER").map_or_else(built, PathBuf::from)
}

/// A piece of a script that waits for [`Guest::go`].
pub(crate) const WAIT_FOR_GO: &str = "while ! test -e go; do sleep 0.01; done";

/// Folders like those of a guest.
pub(crate) struct Guest {
    folder: TempDir,
}

impl Guest {
    pub(crate) fn new() -> Guest {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("snapshot")).unwrap();
        Guest { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The runner with everything that the contract asks for, not started yet.
    pub(crate) fn runner(&self, script: &str) -> Command {
        let mut command = self.bare(&["run", "--same-user", "--grace-ms", "300"]);
        self.set_job(&mut command, script);
        command
    }

    /// The same, detached.
    pub(crate) fn detached(&self, script: &str) -> Command {
        let mut command = self.runner(script);
        command.arg("--detach").arg("--run-dir").arg(self.path("run"));
        command
    }

    /// A follower of the detached runner.
    pub(crate) fn follower(&self, offset: u64) -> Command {
        let mut command = self.bare(&["follow", "--from", &offset.to_string()]);
        command.arg("--run-dir").arg(self.path("run"));
        command
    }

    /// `stop` for the detached runner.
    pub(crate) fn stopper(&self) -> Command {
        let mut command = Command::new(program());
        command.args(["stop", "--run-dir"]).arg(self.path("run")).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The number of the detached runner.
    pub(crate) fn runner_pid(&self) -> Pid {
        let path = self.path("run/runner");
        wait_until("runner", || fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')));
        Pid::from_raw(fs::read_to_string(&path).unwrap().trim().parse().unwrap()).unwrap()
    }

    /// Lets a command go on that waits for this file in the folder that it started in.
    pub(crate) fn go(&self) {
        fs::write(self.path("snapshot/go"), "").unwrap();
    }

    /// Lets a command end whose runner was killed. The first line of its log is its number.
    pub(crate) fn end_abandoned_job(&self) {
        self.go();
        let log = self.log();
        wait_until("end of the command", || !is_alive(log.lines().next().unwrap()));
    }

    /// Adds the folders and variables of the contract, but for the artifacts.
    pub(crate) fn set_job(&self, command: &mut Command, script: &str) {
        for option in ["snapshot", "cargo-home", "cargo-target"] {
            command.arg(format!("--{option}")).arg(self.path(option));
        }
        command.env("PIKACI_INCUS_GUEST_COMMAND", script);
        command.env("PIKACI_INCUS_TIMEOUT_SECS", "20").env("PIKACI_INCUS_RUN_AS_ROOT", "0");
    }

    /// The runner with its first arguments and a clean environment.
    pub(crate) fn bare(&self, arguments: &[&str]) -> Command {
        // Whoever runs the tests may ignore hang-ups, and every program inherits that.
        let mut command = Command::new("/usr/bin/env");
        command.arg("--default-signal=HUP").arg(program());
        command.args(arguments).arg("--artifacts").arg(self.path("artifacts"));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("TMPDIR", self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, script: &str) -> Output {
        self.runner(script).output().unwrap()
    }

    pub(crate) fn result(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path("artifacts/result.json")).unwrap()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("artifacts/guest.log")).unwrap_or_default()).into_owned()
    }

    /// Waits until the log holds this text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), || self.log().contains(text));
    }
}

pub(crate) fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < DEADLINE, "no {what} within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits for the child; kills it and fails when it does not end.
pub(crate) fn finish(mut child: Child) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("the runner did not end within {DEADLINE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process of this number, as found in a log, still lives.
pub(crate) fn is_alive(pid: &str) -> bool {
    // A zombie that its parent has not yet asked about is dead.
    fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}
