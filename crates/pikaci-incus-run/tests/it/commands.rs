//! What a command's end means, and what it sees.

use std::fs;
use std::time::Instant;

use crate::guest::{DEADLINE, Guest, is_alive, wait_until};

#[test]
fn exit_code_0_is_passed() {
    let guest = Guest::new();
    let output = guest.run("echo out; echo err >&2");
    assert_eq!(output.status.code(), Some(0));
    let result = guest.result();
    assert_eq!((&result["status"], &result["exit_code"]), (&"passed".into(), &0.into()));
    assert!(result["started_at"].as_str() <= result["finished_at"].as_str(), "{result}");
    assert_eq!((guest.log().as_str(), output.stdout.as_slice()), ("out\nerr\n", b"out\nerr\n".as_slice()));
}

#[test]
fn another_exit_code_is_failed_and_handed_on() {
    let guest = Guest::new();
    assert_eq!(guest.run("exit 7").status.code(), Some(7));
    let result = guest.result();
    assert_eq!((&result["status"], &result["exit_code"]), (&"failed".into(), &7.into()));
}

#[test]
fn death_by_a_signal_is_failed_with_128_and_its_number() {
    let guest = Guest::new();
    assert_eq!(guest.run("kill -SEGV $$").status.code(), Some(139));
    let result = guest.result();
    assert_eq!((&result["status"], &result["exit_code"]), (&"failed".into(), &139.into()));
    assert_eq!(result["message"], "ended by signal 11");
}

#[test]
fn a_grandchild_that_keeps_the_output_open_delays_nothing_and_does_not_live_on() {
    let guest = Guest::new();
    let start = Instant::now();
    // In a session of its own, deaf to TERM, and orphaned.
    let script = "(setsid sh -c 'trap \"\" TERM; echo $$; sleep 600; sleep 600' &); while ! test -s ../artifacts/guest.log; do :; done";
    assert_eq!(guest.run(script).status.code(), Some(0));
    assert!(start.elapsed() < DEADLINE);
    assert!(!is_alive(&guest.log()), "{} lives", guest.log());
}

#[test]
fn orphans_that_end_do_not_pile_up_as_zombies() {
    let guest = Guest::new();
    let script = "(sh -c 'echo $$' &); while ! test -s ../artifacts/guest.log; do :; done; read pid < ../artifacts/guest.log; while test -e /proc/$pid; do :; done";
    assert_eq!(guest.run(script).status.code(), Some(0));
}

#[test]
fn output_may_be_any_bytes_without_an_end_of_line() {
    let guest = Guest::new();
    let output = guest.run(r"printf 'a\377\000b'");
    assert_eq!(fs::read(guest.path("artifacts/guest.log")).unwrap(), b"a\xff\x00b");
    assert_eq!(output.stdout, b"a\xff\x00b");
}

#[test]
fn much_output_arrives_whole_in_log_and_tee() {
    let guest = Guest::new();
    let output = guest.run("head -c 30000000 /dev/zero");
    assert_eq!(output.stdout.len(), 30_000_000);
    assert_eq!(fs::metadata(guest.path("artifacts/guest.log")).unwrap().len(), 30_000_000);
}

#[test]
fn output_that_is_opened_anew_by_its_name_cuts_nothing_off() {
    let guest = Guest::new();
    assert!(guest.run("echo one; echo two > /dev/stderr; echo three > /dev/stdout").status.success());
    assert_eq!(guest.log(), "one\ntwo\nthree\n");
}

#[test]
fn quiet_prints_nothing_and_logs_all() {
    let guest = Guest::new();
    let output = guest.runner("echo out").arg("--quiet").output().unwrap();
    assert_eq!((output.stdout.as_slice(), guest.log().as_str()), (b"".as_slice(), "out\n"));
}

#[test]
fn the_environment_is_the_contracts_and_nothing_else() {
    let guest = Guest::new();
    let mut runner = guest.runner("pwd; env");
    runner.env("SECRET_TOKEN", "hunter2").env("RUSTUP_HOME", "/opt/rustup");
    assert!(runner.output().unwrap().status.success());
    let log = guest.log();
    assert!(!log.contains("hunter2") && !log.contains("PIKACI_INCUS"), "{log}");
    let folder = |name| guest.path(name).display().to_string();
    for expected in [
        folder("snapshot"),
        format!("PIKACI_SNAPSHOT={}", folder("snapshot")),
        format!("PIKACI_ARTIFACTS={}", folder("artifacts")),
        format!("CARGO_HOME={}", folder("cargo-home")),
        format!("CARGO_TARGET_DIR={}", folder("cargo-target")),
        "CI=true".to_owned(),
        "PIKACI=1".to_owned(),
        "LANG=C.UTF-8".to_owned(),
        "TERM=dumb".to_owned(),
        "RUSTUP_HOME=/opt/rustup".to_owned(),
        "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
    ] {
        assert!(log.lines().any(|line| line == expected), "{expected:?} is not in {log}");
    }
}

#[test]
fn a_log_that_the_command_removed_is_restored() {
    let guest = Guest::new();
    let script = "echo one; rm ../artifacts/guest.log; mkdir ../artifacts/guest.log; touch ../artifacts/guest.log/x; echo two";
    assert_eq!(guest.run(script).status.code(), Some(0));
    assert_eq!(guest.log(), "one\ntwo\n");
    assert!(guest.result()["message"].as_str().unwrap().contains("guest.log"));
}

#[test]
fn a_result_that_the_command_planted_is_replaced() {
    let guest = Guest::new();
    let script = "mkdir ../artifacts/result.json; touch ../artifacts/result.json/x; ln -s /etc/passwd ../artifacts/.result.json.new; chmod 500 ../artifacts; exit 3";
    assert_eq!(guest.run(script).status.code(), Some(3));
    assert_eq!(guest.result()["status"], "failed");
}

#[test]
fn nobody_who_reads_the_output_can_delay_the_verdict() {
    let guest = Guest::new();
    let mut child = guest.runner("head -c 1000000 /dev/zero").spawn().unwrap();
    wait_until("result while nobody reads", || guest.path("artifacts/result.json").exists());
    assert_eq!(guest.result()["status"], "passed");
    child.kill().unwrap();
    child.wait().unwrap();
}
