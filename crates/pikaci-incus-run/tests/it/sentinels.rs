//! Shares that are mounted while the runner is already there.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::guest::{Guest, finish, signal, wait_until};

fn expecting(guest: &Guest, share: &str, wait_ms: &str) -> Command {
    let mut runner = guest.runner("echo started");
    let sentinel = format!("{}=abc", guest.path(share).display());
    runner.args(["--sentinel", &sentinel, "--sentinel-wait-ms", wait_ms]);
    runner
}

/// Waits until the runner is so far that it has looked at its artifacts.
fn wait_for_start(guest: &Guest) {
    wait_until("start of the runner", || guest.path("artifacts").exists());
}

#[test]
fn a_share_may_appear_within_its_time() {
    let guest = Guest::new();
    fs::remove_dir(guest.path("snapshot")).unwrap();
    let child = expecting(&guest, "snapshot", "20000").spawn().unwrap();
    wait_for_start(&guest);
    // As a mount would, all at once.
    fs::create_dir(guest.path("prepared")).unwrap();
    fs::write(guest.path("prepared/.pikaci-share"), "abc\n").unwrap();
    fs::rename(guest.path("prepared"), guest.path("snapshot")).unwrap();
    assert_eq!(finish(child), 0);
    assert_eq!(guest.log(), "started\n");
}

#[test]
fn a_share_that_does_not_appear_in_time_is_refused_with_its_name() {
    let guest = Guest::new();
    let start = Instant::now();
    let output = expecting(&guest, "staged", "150").output().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(150));
    assert_eq!(output.status.code(), Some(125));
    let message = guest.result()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("not mounted") && message.contains("staged"), "{message}");
}

#[test]
fn the_wrong_share_is_not_waited_for() {
    let guest = Guest::new();
    fs::write(guest.path("snapshot/.pikaci-share"), "def\n").unwrap();
    let output = expecting(&guest, "snapshot", "600000").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(guest.result()["message"].as_str().unwrap().contains("def"));
}

#[test]
fn whoever_waits_for_a_share_can_be_stopped() {
    let guest = Guest::new();
    let child = expecting(&guest, "staged", "600000").spawn().unwrap();
    wait_for_start(&guest);
    signal(&child, Signal::TERM);
    assert_eq!(finish(child), 130);
    let result = guest.result();
    assert_eq!(result["status"], "cancelled");
    assert_eq!(result["message"], "told to stop before the command was started");
    assert!(!guest.path("artifacts/guest.log").exists(), "the command was not started");
}

#[test]
fn a_detached_runner_that_waits_for_a_share_can_be_stopped() {
    let guest = Guest::new();
    let sentinel = format!("{}=abc", guest.path("staged").display());
    let mut runner = guest.detached("echo started");
    let foreground = runner.args(["--sentinel", &sentinel, "--sentinel-wait-ms", "600000"]).spawn().unwrap();
    guest.runner_pid();
    assert!(guest.stopper().output().unwrap().status.success());
    let output = foreground.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(130), b"".as_slice()));
    assert_eq!(guest.result()["status"], "cancelled");
}
