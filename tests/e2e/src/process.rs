//! Processes that tests start, and looks at those that they cause.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::soon;

/// A program in a process group of its own, its output in a file. Dropped, the whole group is killed.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command; both its outputs are appended to `log`.
    #[track_caller]
    pub fn start(command: &mut Command, log: &Path) -> Process {
        use std::os::unix::process::CommandExt as _;
        let output = File::options().create(true).append(true).open(log).expect("the log can be written");
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Process { child, log: log.to_owned() }
    }

    /// Its number, and its group's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends a signal to the process alone. It must not have been waited for.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process can be signalled");
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        soon("the process ends", deadline, || self.ended())
    }

    /// `kill -9` of this process and nothing else, as a crash would be.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("a killed child can be waited for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Whether a process is there and no zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    // proc(5): the state follows the name, which is in parentheses and may hold anything.
    let state = stat.ok().and_then(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()));
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// The living processes that have `word` in their arguments: a test that puts a word of its own into a job's command
/// finds every process of that job.
pub fn processes_with_argument(word: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|pid| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(word) && is_alive(*pid)
        })
        .collect()
}

/// The most memory that a process ever had in use, in bytes (`VmHWM` of proc(5)).
#[track_caller]
pub fn resident_bytes_max(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is alive");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a process has VmHWM");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("VmHWM is a number");
    kib * 1024
}

/// Ends a process that is no child of this one. One that is gone already is fine.
pub(crate) fn kill_pid(pid: u32) -> io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    kill_process(pid, Signal::KILL).map_err(io::Error::from)
}
