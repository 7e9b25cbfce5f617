//! `follow`: the log from any byte on, while it grows, to its end; then the result.

use std::cell::RefCell;
use std::fs;
use std::io::Read as _;

use crate::guest::{Guest, finish, wait_until};

#[test]
fn a_follower_joins_at_an_offset_and_stays_to_the_end() {
    let guest = Guest::new();
    let script = "printf first; while ! test -e go; do sleep 0.01; done; printf 'second\\377'; exit 3";
    let child = guest.detached(script).spawn().unwrap();
    guest.wait_for_log("first");
    let mut follower = guest.follower(2).spawn().unwrap();
    let mut printed = follower.stdout.take().unwrap();
    let mut seen = [0; 3];
    printed.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"rst", "before the command has ended");
    guest.go();
    let mut rest = Vec::new();
    printed.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"second\xff");
    assert_eq!((finish(follower), finish(child)), (3, 3));
}

#[test]
fn a_follower_may_come_first() {
    let guest = Guest::new();
    let follower = guest.follower(0).spawn().unwrap();
    assert!(guest.detached("echo late").output().unwrap().status.success());
    let output = follower.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"late\n".as_slice()));
}

#[test]
fn following_a_finished_command_prints_what_is_left_and_hands_over_the_result() {
    for is_detached in [true, false] {
        let guest = Guest::new();
        let script = "printf 0123456789; exit 9";
        let mut runner = if is_detached { guest.detached(script) } else { guest.runner(script) };
        assert_eq!(runner.output().unwrap().status.code(), Some(9));
        for (offset, expected) in [(0, "0123456789"), (7, "789"), (10, ""), (4000, "")] {
            let output = guest.follower(offset).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "from {offset}");
            assert_eq!(output.stderr, fs::read(guest.path("artifacts/result.json")).unwrap());
            assert_eq!(output.status.code(), Some(9));
        }
    }
}

#[test]
fn a_follower_whose_reader_left_ends_and_the_job_goes_on() {
    let guest = Guest::new();
    let script = "while ! test -e go; do echo x; sleep 0.01; done; echo end";
    let mut foreground = guest.detached(script);
    let child = foreground.stdout(std::process::Stdio::null()).spawn().unwrap();
    guest.wait_for_log("x");
    let mut follower = guest.follower(0).spawn().unwrap();
    drop(follower.stdout.take());
    let follower = RefCell::new(follower);
    wait_until("end of the follower", || follower.borrow_mut().try_wait().unwrap().is_some());
    assert!(!guest.path("artifacts/result.json").exists(), "the follower has ended before the job");
    guest.go();
    assert_eq!(finish(child), 0);
    assert!(guest.log().ends_with("end\n"));
}
