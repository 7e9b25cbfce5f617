//! Ends everything that the command started.
//!
//! The runner is the reaper of its orphans (`PR_SET_CHILD_SUBREAPER`, prctl(2)), so whatever a command leaves behind,
//! even in a session of its own, stays a descendant of the runner and is found in `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, wait};

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long killed processes may take to be gone. One that waits for a dead disk cannot be killed at all.
const KILLED_PATIENCE: Duration = Duration::from_secs(3);

/// Makes the runner the parent of processes whose parent ends. Best effort: without it, the process group is ended.
pub(crate) fn adopt_orphans() {
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
}

/// Asks the command's group and all other descendants to end, waits up to `grace`, then kills what is left.
pub(crate) fn end_all(group: Pid, grace: Duration) {
    signal_all(group, Signal::TERM);
    if !wait_until_gone(group, grace) {
        signal_all(group, Signal::KILL);
        let start = Instant::now();
        // A process that forks while it is killed may leave a child: look again until none is left.
        while !wait_until_gone(group, LOOK_EVERY) && start.elapsed() < KILLED_PATIENCE {
            signal_all(group, Signal::KILL);
        }
    }
}

fn signal_all(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
    for descendant in descendants() {
        let _ = kill_process(descendant, signal);
    }
}

fn wait_until_gone(group: Pid, limit: Duration) -> bool {
    let start = Instant::now();
    loop {
        reap();
        let is_group_gone = rustix::process::test_kill_process_group(group).is_err();
        if is_group_gone && descendants().is_empty() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Takes in orphans that have ended. The command itself was waited for before.
fn reap() {
    while let Ok(Some(_)) | Err(Errno::INTR) = wait(WaitOptions::NOHANG) {}
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
