//! Starts, times and watches other programs.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Runs a command to its end and says how long that took. Its output is kept only to explain a failure.
pub(super) fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    let took = start.elapsed();
    if !output.status.success() {
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{command:?} ended with {}\n{stdout}{stderr}", output.status);
    }
    Ok(took)
}

/// Runs git in a folder, with an identity and without anybody's configuration.
pub(super) fn git(folder: &Path, arguments: &[&str]) -> Result<Duration> {
    let mut command = Command::new("git");
    command.current_dir(folder).args(arguments);
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "bench")
            .env(format!("GIT_{role}_EMAIL"), "bench@example.invalid");
    }
    timed(command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1"))
}

/// Waits for a child and returns its wall time and the most memory it ever held, in bytes.
pub(super) fn watched(command: &mut Command) -> Result<(Duration, u64)> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let mut peak = 0;
    loop {
        peak = peak.max(peak_memory(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("{command:?} ended with {status}");
            }
            return Ok((start.elapsed(), peak));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The most memory that a process has ever held, in bytes (`VmHWM` of proc(5)).
pub(super) fn peak_memory(pid: u32) -> Option<u64> {
    status_kib(pid, "VmHWM:")
}

/// The memory that a process holds now, in bytes (`VmRSS` of proc(5)).
pub(super) fn memory(pid: u32) -> Option<u64> {
    status_kib(pid, "VmRSS:")
}

fn status_kib(pid: u32, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A server that is stopped when it goes out of scope.
pub(super) struct Server {
    child: Child,
}

const END_PATIENCE: Duration = Duration::from_secs(5);

impl Server {
    /// Starts it; its output goes to `log`.
    pub(super) fn start(command: &mut Command, log: &Path) -> Result<Server> {
        let file = std::fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Server { child })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, so that it ends its workers too, makes it end when it does not, and waits until it is gone.
    pub(super) fn stop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < END_PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks until there is an answer, or says what was waited for.
pub(super) fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    bail!("{what} did not happen within {} s", limit.as_secs())
}
