//! A job that writes where the runner writes: it deceives no follower.

use std::fs;

use crate::guest::{Guest, WAIT_FOR_GO, wait_until};

#[test]
fn a_planted_result_is_not_handed_over_while_the_job_runs_or_afterwards() {
    let guest = Guest::new();
    let planted = r#"{"status":"passed","exit_code":0,"started_at":"2026-01-01T00:00:00Z"}"#;
    let script =
        format!("echo '{planted}' > ../artifacts/result.json; echo ready; {WAIT_FOR_GO}; echo end; exit 3");
    let foreground = guest.detached(&script).spawn().unwrap();
    guest.wait_for_log("ready");
    let follower = guest.follower(0).spawn().unwrap();
    guest.go();
    for output in [foreground.wait_with_output().unwrap(), follower.wait_with_output().unwrap()] {
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), b"ready\nend\n".as_slice()));
        assert!(output.stderr.starts_with(br#"{"status":"failed","exit_code":3,"#), "{output:?}");
    }
}

#[test]
fn a_follower_reads_nothing_through_a_link_or_pipe_in_the_place_of_the_log() {
    for make in ["ln -s ../secret ../artifacts/guest.log", "mkfifo ../artifacts/guest.log"] {
        let guest = Guest::new();
        fs::write(guest.path("secret"), "hunter2").unwrap();
        let script =
            format!("rm ../artifacts/guest.log; {make}; touch swapped; echo one; {WAIT_FOR_GO}; echo two");
        let foreground = guest.detached(&script).spawn().unwrap();
        wait_until("swapped log", || guest.path("snapshot/swapped").exists());
        let follower = guest.follower(0).spawn().unwrap();
        guest.go();
        for output in [foreground.wait_with_output().unwrap(), follower.wait_with_output().unwrap()] {
            assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"one\ntwo\n".as_slice()));
        }
        assert_eq!(guest.log(), "one\ntwo\n");
    }
}

#[test]
fn a_follower_of_another_file_in_the_place_of_the_log_gets_the_log_in_the_end() {
    let guest = Guest::new();
    let script = format!(
        "rm ../artifacts/guest.log; : > ../artifacts/guest.log; touch swapped; echo one; {WAIT_FOR_GO}; echo two"
    );
    let foreground = guest.detached(&script).spawn().unwrap();
    wait_until("swapped log", || guest.path("snapshot/swapped").exists());
    let follower = guest.follower(0).spawn().unwrap();
    wait_until("follower of the wrong file", || {
        let handles = fs::read_dir(format!("/proc/{}/fd", follower.id())).unwrap().filter_map(Result::ok);
        handles.filter_map(|handle| fs::read_link(handle.path()).ok()).any(|path| path.ends_with("guest.log"))
    });
    guest.go();
    for output in [foreground.wait_with_output().unwrap(), follower.wait_with_output().unwrap()] {
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"one\ntwo\n".as_slice()));
    }
}

#[test]
fn a_command_that_prints_without_end_fills_no_disk_and_is_not_held_up() {
    let guest = Guest::new();
    let mut runner = guest.runner("yes abcdefg | head -c 1000000; exit 3");
    let output = runner.args(["--log-bytes-max", "1000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let log = guest.log();
    assert!(log.starts_with("abcdefg\nabcdefg\n") && log.len() < 1200, "{}", log.len());
    assert!(log.ends_with("guest.log is full at 1000 bytes; the rest was left out]\n"), "{log}");
    assert_eq!(guest.result()["message"], "guest.log is full at 1000 bytes; the rest was left out");
}

#[test]
fn a_log_that_is_just_full_is_whole() {
    let guest = Guest::new();
    let mut runner = guest.runner("printf 1234567890");
    assert_eq!(runner.args(["--log-bytes-max", "10"]).output().unwrap().status.code(), Some(0));
    assert_eq!((guest.log().as_str(), &guest.result()["message"]), ("1234567890", &serde_json::Value::Null));
}

#[test]
fn a_log_that_the_command_made_longer_than_any_disk_holds_nobody_up() {
    for hide in ["true", "rm ../artifacts/guest.log"] {
        let guest = Guest::new();
        // Appended after the stretch, the line would come behind 4 TiB of nothing.
        let until_there = "until grep -q one ../artifacts/guest.log; do sleep 0.01; done";
        let stretch = "truncate -s 4T ../artifacts/guest.log";
        let script = format!("echo one; {until_there}; {stretch}; {hide}; exit 3");
        let mut foreground = guest.detached(&script);
        let output = foreground.args(["--log-bytes-max", "1000"]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{hide}");
        assert!(
            output.stdout.starts_with(b"one\n") && output.stdout.len() < 10_000,
            "{}",
            output.stdout.len()
        );
    }
}
