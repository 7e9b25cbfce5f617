//! `follow`: the log from any byte on, while it grows, to its end.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use crate::guest::{Guest, finish, wait_until};

#[test]
fn a_follower_joins_at_an_offset_and_stays_to_the_end() {
    let guest = Guest::new();
    let script = "printf first; while ! test -e go; do sleep 0.01; done; printf 'second\\377'";
    let child = guest.runner(script).stdout(Stdio::null()).spawn().unwrap();
    guest.wait_for_log("first");
    let mut follower = guest.bare(&["follow", "--from", "2"]).spawn().unwrap();
    let mut printed = follower.stdout.take().unwrap();
    let mut seen = [0; 3];
    printed.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"rst", "before the command has ended");
    fs::write(guest.path("snapshot/go"), "").unwrap();
    let mut rest = Vec::new();
    printed.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"second\xff");
    assert_eq!((finish(follower), finish(child)), (0, 0));
}

#[test]
fn a_follower_may_come_first() {
    let guest = Guest::new();
    let follower = guest.bare(&["follow"]).spawn().unwrap();
    assert!(guest.run("echo late").status.success());
    let output = follower.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"late\n".as_slice()));
}

#[test]
fn following_a_finished_command_prints_what_is_left() {
    let guest = Guest::new();
    assert!(guest.run("printf 0123456789").status.success());
    for (offset, expected) in [("0", "0123456789"), ("7", "789"), ("10", ""), ("4000", "")] {
        let output = guest.bare(&["follow", "--from", offset]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "from {offset}");
    }
}

#[test]
fn a_follower_whose_reader_left_ends() {
    let guest = Guest::new();
    let script = "while ! test -e go; do echo x; sleep 0.01; done";
    let child = guest.runner(script).stdout(Stdio::null()).spawn().unwrap();
    guest.wait_for_log("x");
    let mut follower = guest.bare(&["follow"]).spawn().unwrap();
    drop(follower.stdout.take());
    wait_until("end of the follower", {
        let follower = std::cell::RefCell::new(follower);
        move || follower.borrow_mut().try_wait().unwrap().is_some()
    });
    fs::write(guest.path("snapshot/go"), "").unwrap();
    assert_eq!(finish(child), 0);
}
