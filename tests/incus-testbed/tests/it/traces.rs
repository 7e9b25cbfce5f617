//! What a testbed would leave on the machine, found in other ways than the supervisor's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Everything that is still there of the testbed in `folder`: processes that speak of it, mounts, the folder.
pub(crate) fn of(folder: &Path) -> Vec<String> {
    let word = folder.to_str().unwrap();
    let mut traces = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().parse().unwrap_or(0);
        // The test itself may have the folder among its arguments.
        if pid == 0 || pid == std::process::id() {
            continue;
        }
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        if arguments.contains(word) || String::from_utf8_lossy(&read("environ")).contains(word) {
            traces.push(format!("process {pid}: {arguments}"));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    traces.extend(mounts.lines().filter(|line| line.contains(word)).map(|line| format!("mount {line}")));
    traces.extend(folder.exists().then(|| format!("folder {word}")));
    traces
}

/// Waits until nothing is there any more.
#[track_caller]
pub(crate) fn gone(folder: &Path, deadline: Duration) {
    let start = Instant::now();
    while !of(folder).is_empty() {
        assert!(start.elapsed() < deadline, "left after {deadline:?}: {:#?}", of(folder));
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// The control groups of a container, whatever version the machine has, by its first process.
pub(crate) fn control_groups_of(init: u32) -> Vec<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap();
    let paths =
        groups.lines().filter_map(|line| line.splitn(3, ':').last()).filter(|path| path.contains("/lxc."));
    let paths: BTreeSet<&str> = paths.collect();
    let top = Path::new("/sys/fs/cgroup");
    let mut tops: Vec<PathBuf> = fs::read_dir(top).unwrap().flatten().map(|entry| entry.path()).collect();
    tops.push(top.to_owned());
    let folders =
        paths.iter().flat_map(|path| tops.iter().map(move |top| top.join(path.trim_start_matches('/'))));
    folders.filter(|folder| folder.is_dir()).collect()
}
