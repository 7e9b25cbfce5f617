//! A guest that is not as the contract says: the command is not started, and everybody is told why.

use std::fs;
use std::process::Command;

use crate::guest::Guest;

/// Runs the runner and returns why it refused, after checking that it said so in every way.
fn refusal(guest: &Guest, runner: &mut Command) -> String {
    let output = runner.output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let result = guest.result();
    assert_eq!((&result["status"], &result["exit_code"]), (&"refused".into(), &serde_json::Value::Null));
    let message = result["message"].as_str().unwrap().to_owned();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains(&message), "{printed:?} does not say {message:?}");
    assert!(!guest.path("snapshot/started").exists(), "the command was started");
    message
}

#[test]
fn a_missing_variable_is_named() {
    for variable in ["PIKACI_INCUS_GUEST_COMMAND", "PIKACI_INCUS_TIMEOUT_SECS", "PIKACI_INCUS_RUN_AS_ROOT"] {
        let guest = Guest::new();
        let message = refusal(&guest, guest.runner("touch started").env_remove(variable));
        assert!(message.contains(variable), "{message}");
    }
}

#[test]
fn a_bad_timeout_is_named_with_what_would_be_right() {
    for timeout in ["0", "-1", "soon", "1.5", "99999999999999999999"] {
        let guest = Guest::new();
        let message =
            refusal(&guest, guest.runner("touch started").env("PIKACI_INCUS_TIMEOUT_SECS", timeout));
        for word in ["PIKACI_INCUS_TIMEOUT_SECS", timeout, "whole number of seconds"] {
            assert!(message.contains(word), "{word:?} is not in {message}");
        }
    }
}

#[test]
fn a_share_without_its_sentinel_is_not_mounted() {
    let guest = Guest::new();
    let sentinel = format!("{}=abc", guest.path("snapshot").display());
    let message = refusal(&guest, guest.runner("touch started").args(["--sentinel", &sentinel]));
    assert!(message.contains("not mounted") && message.contains("snapshot"), "{message}");
}

#[test]
fn a_share_with_another_sentinel_is_the_wrong_one() {
    let guest = Guest::new();
    fs::write(guest.path("snapshot/.pikaci-share"), "def\n").unwrap();
    let sentinel = format!("{}=abc", guest.path("snapshot").display());
    let message = refusal(&guest, guest.runner("touch started").args(["--sentinel", &sentinel]));
    assert!(message.contains("abc") && message.contains("def"), "{message}");
}

#[test]
fn a_share_with_its_sentinel_is_used() {
    let guest = Guest::new();
    fs::write(guest.path("snapshot/.pikaci-share"), "abc\n").unwrap();
    let sentinel = format!("{}=abc", guest.path("snapshot").display());
    assert!(guest.runner("true").args(["--sentinel", &sentinel]).output().unwrap().status.success());
}

#[test]
fn artifacts_that_are_a_file_are_named_and_left_alone() {
    let guest = Guest::new();
    fs::write(guest.path("artifacts"), "precious").unwrap();
    let output = guest.run("touch started");
    assert_eq!(output.status.code(), Some(125));
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains(guest.path("artifacts").to_str().unwrap()), "{printed}");
    assert_eq!(fs::read(guest.path("artifacts")).unwrap(), b"precious");
}

#[test]
fn a_missing_snapshot_is_named() {
    let guest = Guest::new();
    fs::remove_dir(guest.path("snapshot")).unwrap();
    let message = refusal(&guest, &mut guest.runner("touch started"));
    assert!(message.contains(guest.path("snapshot").to_str().unwrap()), "{message}");
}

#[test]
fn an_earlier_result_does_not_outlive_a_refusal() {
    let guest = Guest::new();
    assert!(guest.run("true").status.success());
    refusal(&guest, guest.runner("touch started").env("PIKACI_INCUS_TIMEOUT_SECS", "never"));
}

#[test]
fn an_earlier_log_does_not_outlive_a_refusal() {
    let guest = Guest::new();
    assert!(guest.run("echo earlier").status.success());
    let foreground =
        guest.detached("touch started").env("PIKACI_INCUS_TIMEOUT_SECS", "never").output().unwrap();
    assert_eq!((foreground.status.code(), foreground.stdout.as_slice()), (Some(125), b"".as_slice()));
    assert!(!guest.path("artifacts/guest.log").exists());
}

#[test]
fn a_detached_runner_hands_over_its_refusal_as_any_result() {
    type Spoil = fn(&Guest, &mut Command);
    let cases: [(Spoil, &str); 4] = [
        (|_, runner| _ = runner.env_remove("PIKACI_INCUS_GUEST_COMMAND"), "PIKACI_INCUS_GUEST_COMMAND"),
        (|_, runner| _ = runner.env("PIKACI_INCUS_RUN_AS_ROOT", "maybe"), "PIKACI_INCUS_RUN_AS_ROOT"),
        (|_, runner| _ = runner.args(["--sentinel", "/nowhere=abc"]), "/nowhere is not mounted"),
        (|guest, _| fs::remove_dir(guest.path("snapshot")).unwrap(), "snapshot"),
    ];
    for (spoil, expected) in cases {
        let guest = Guest::new();
        let mut runner = guest.detached("touch started");
        spoil(&guest, &mut runner);
        let output = runner.output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), b"".as_slice()));
        let result = guest.result();
        assert_eq!(result["status"], "refused");
        assert!(result["message"].as_str().unwrap().contains(expected), "{result}");
        assert_eq!(output.stderr, fs::read(guest.path("artifacts/result.json")).unwrap());
        assert!(!guest.path("snapshot/started").exists());
    }
}

#[test]
fn a_detached_runner_without_a_place_for_its_result_lets_the_foreground_say_why() {
    let guest = Guest::new();
    fs::write(guest.path("artifacts"), "precious").unwrap();
    // Whoever asks again is told again.
    for _ in 0..2 {
        let output = guest.detached("touch started").output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), b"".as_slice()));
        let message = String::from_utf8(output.stderr).unwrap();
        for word in ["pikaci-incus-run: ", guest.path("artifacts").to_str().unwrap(), "result.json"] {
            assert!(message.contains(word), "{word:?} is not in {message}");
        }
    }
    assert_eq!(fs::read(guest.path("artifacts")).unwrap(), b"precious");
}

#[test]
fn a_run_folder_that_cannot_be_made_is_named() {
    let guest = Guest::new();
    fs::write(guest.path("run"), "a file").unwrap();
    let output = guest.detached("touch started").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(guest.path("run").to_str().unwrap()), "{message}");
    assert!(!guest.path("snapshot/started").exists());
}

#[test]
fn an_unknown_argument_is_refused_with_its_name() {
    let guest = Guest::new();
    let output = guest.runner("touch started").arg("--sentinal").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--sentinal"));
}
