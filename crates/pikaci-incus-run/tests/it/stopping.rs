//! A command that is stopped: by its deadline, by a signal, by the end of the lifeline.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::guest::{Guest, finish, is_alive, signal};

/// Says its number and that it is ready, and does not listen to TERM.
const DEAF: &str = "trap '' TERM; echo $$; echo ready; while :; do sleep 1; done";
const WAITS: &str = "echo $$; echo ready; sleep 600";

fn assert_gone(guest: &Guest) {
    let log = guest.log();
    let pid = log.lines().next().unwrap();
    assert!(!is_alive(pid), "{pid} lives");
}

#[test]
fn a_deadline_ends_even_a_command_that_ignores_term() {
    let guest = Guest::new();
    let output = guest.runner(DEAF).env("PIKACI_INCUS_TIMEOUT_SECS", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(124));
    let result = guest.result();
    assert_eq!((&result["status"], &result["exit_code"]), (&"timed_out".into(), &serde_json::Value::Null));
    assert_eq!(result["message"], "stopped at its deadline of 1 s");
    assert_gone(&guest);
}

#[test]
fn a_stopped_command_may_tidy_up_within_its_grace() {
    let guest = Guest::new();
    let script = "trap 'echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let mut runner = guest.runner(script);
    let child = runner.args(["--grace-ms", "20000"]).spawn().unwrap();
    guest.wait_for_log("ready");
    signal(&child, Signal::TERM);
    assert_eq!(finish(child), 130);
    assert!(guest.log().ends_with("tidied\n"), "{}", guest.log());
    assert_eq!(guest.result()["status"], "cancelled", "what it exited with does not matter any more");
}

#[test]
fn term_and_interrupt_cancel() {
    for kind in [Signal::TERM, Signal::INT] {
        let guest = Guest::new();
        let child = guest.runner(WAITS).spawn().unwrap();
        guest.wait_for_log("ready");
        signal(&child, kind);
        assert_eq!(finish(child), 130);
        assert_eq!(guest.result()["status"], "cancelled");
        assert_gone(&guest);
    }
}

#[test]
fn a_second_signal_ends_the_grace() {
    let guest = Guest::new();
    let start = Instant::now();
    let script = "trap 'echo deaf' TERM; echo $$; echo ready; while :; do sleep 0.01; done";
    let child = guest.runner(script).args(["--grace-ms", "600000"]).spawn().unwrap();
    guest.wait_for_log("ready");
    signal(&child, Signal::TERM);
    guest.wait_for_log("deaf");
    signal(&child, Signal::TERM);
    assert_eq!(finish(child), 130);
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_gone(&guest);
}

#[test]
fn the_end_of_the_lifeline_cancels() {
    let guest = Guest::new();
    let mut child = guest.runner(WAITS).arg("--lifeline").stdin(Stdio::piped()).spawn().unwrap();
    guest.wait_for_log("ready");
    drop(child.stdin.take());
    assert_eq!(finish(child), 130);
    let result = guest.result();
    assert_eq!(result["status"], "cancelled");
    assert!(result["message"].as_str().unwrap().contains("gone"), "{result}");
    assert_gone(&guest);
}

#[test]
fn processes_in_other_groups_and_sessions_are_stopped_too() {
    let guest = Guest::new();
    let script = "setsid sh -c 'trap \"\" TERM; echo $$; echo ready; while :; do sleep 1; done' & sleep 600";
    let child = guest.runner(script).spawn().unwrap();
    guest.wait_for_log("ready");
    signal(&child, Signal::TERM);
    assert_eq!(finish(child), 130);
    assert_gone(&guest);
}
