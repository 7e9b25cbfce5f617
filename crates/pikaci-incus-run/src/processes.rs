//! Ends everything that the command started.
//!
//! The runner is the reaper of its orphans (`PR_SET_CHILD_SUBREAPER`, prctl(2)), so whatever a command leaves behind,
//! even in a session of its own, stays a descendant of the runner and is found in `/proc`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, wait};

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long killed processes may take to be gone. One that waits for a dead disk cannot be killed at all.
const KILLED_PATIENCE: Duration = Duration::from_secs(3);

/// Makes the runner the parent of processes whose parent ends. Best effort: without it, the process group is ended.
pub(crate) fn adopt_orphans() {
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
}

/// Waits for the command itself, and takes in every orphan that ends before it, so that none stays a zombie.
///
/// Must run in a process that has no children of other purposes.
pub(crate) fn wait_for_command(command: Pid) -> io::Result<WaitStatus> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => return Ok(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Asks the command's group and all other descendants to end, waits up to `grace` or until `is_urgent`, then kills what
/// is left.
pub(crate) fn end_all(group: Pid, grace: Duration, is_urgent: &dyn Fn() -> bool) {
    if !has_children() {
        return;
    }
    signal_all(group, Signal::TERM);
    let start = Instant::now();
    while start.elapsed() < grace && !is_urgent() {
        if !has_children() {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let start = Instant::now();
    // A process that forks while it is killed may leave a child: look again until none is left.
    while has_children() && start.elapsed() < KILLED_PATIENCE {
        signal_all(group, Signal::KILL);
        std::thread::sleep(LOOK_EVERY);
    }
}

fn signal_all(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
    for descendant in descendants() {
        let _ = kill_process(descendant, signal);
    }
}

/// Takes in what has ended. As the reaper of all orphans, a runner without children has no descendants either.
fn has_children() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Every process below the runner that is not a zombie.
fn descendants() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero().get();
    let mut parents = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything: state and parent come after the last one (proc(5)).
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let (state, parent) = (fields.next(), fields.next().and_then(|parent| parent.parse::<i32>().ok()));
        if let (Some(state), Some(parent)) = (state, parent)
            && state != "Z"
        {
            parents.insert(pid, parent);
        }
    }
    let is_below = |mut pid: i32| {
        // Bounded: a table read while it changes could hold a circle.
        for _ in 0..parents.len() {
            match parents.get(&pid) {
                Some(parent) if *parent == own => return true,
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    parents.keys().copied().filter(|pid| is_below(*pid)).filter_map(Pid::from_raw).collect()
}
