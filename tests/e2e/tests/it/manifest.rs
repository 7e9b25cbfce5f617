//! Manifests of tests, and words that a test recognises its processes by.

use std::sync::atomic::{AtomicU32, Ordering};

/// A manifest with one target, `check`, of these jobs: id and command.
pub(crate) fn of_jobs(jobs: &[(&str, &str)]) -> String {
    of_target("check", jobs)
}

/// A manifest with one target of these jobs: id and command.
pub(crate) fn of_target(target: &str, jobs: &[(&str, &str)]) -> String {
    format!("version = 1\n{}", target_text(target, jobs))
}

/// One target of a manifest that has several.
pub(crate) fn target_text(target: &str, jobs: &[(&str, &str)]) -> String {
    let mut text = format!("[targets.{target}]\n");
    for (id, command) in jobs {
        text.push_str(&format!("[[targets.{target}.jobs]]\nid = \"{id}\"\ncommand = '''{command}'''\n"));
    }
    text
}

/// A job that says `ready` and goes on when the test makes the file `go` among its artifacts.
pub(crate) const WAITS: &str =
    "echo ready; until [ -e \"$PIKACI_ARTIFACTS/go\" ]; do sleep 0.02; done; echo went";

/// A job that says `ready` and then never ends by itself; every process of it has `word` in its arguments.
pub(crate) fn endless(word: &str) -> String {
    format!("echo ready; sleep {word}")
}

/// A number of seconds that no other process on this machine sleeps.
pub(crate) fn unique_seconds() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("86400.{}{:04}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
