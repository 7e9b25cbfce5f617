//! `run --detach`: the job outlives whoever started it, is started once, and can be stopped by any follower.

use std::cell::RefCell;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getsid, kill_process, kill_process_group};

use crate::guest::{Guest, WAIT_FOR_GO, finish, is_alive, signal, wait_until};

fn wait_for_end(child: Child) {
    let child = RefCell::new(child);
    wait_until("end of the follower", || child.borrow_mut().try_wait().unwrap().is_some());
}

/// The exit code, and whether exactly the result was printed to standard error.
fn assert_handed_over(guest: &Guest, output: &Output, exit_code: i32) {
    assert_eq!(output.status.code(), Some(exit_code), "{output:?}");
    let result = fs::read(guest.path("artifacts/result.json")).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), String::from_utf8(result).unwrap());
}

#[test]
fn the_foreground_prints_the_log_then_the_result_and_exits_as_the_command_did() {
    for (script, exit_code, status) in [
        ("echo out; echo err >&2", 0, "passed"),
        ("exit 7", 7, "failed"),
        ("kill -SEGV $$", 139, "failed"),
        ("sleep 600", 124, "timed_out"),
    ] {
        let guest = Guest::new();
        let timeout = if exit_code == 124 { "1" } else { "20" };
        let output = guest.detached(script).env("PIKACI_INCUS_TIMEOUT_SECS", timeout).output().unwrap();
        assert_handed_over(&guest, &output, exit_code);
        assert_eq!(guest.result()["status"], status);
        assert_eq!(String::from_utf8_lossy(&output.stdout), guest.log());
    }
}

#[test]
fn the_death_of_the_foreground_and_its_group_is_nothing_to_the_job() {
    let guest = Guest::new();
    let script = format!("printf 'fir\\377st'; {WAIT_FOR_GO}; printf second; exit 5");
    let mut foreground = guest.detached(&script).process_group(0).spawn().unwrap();
    let mut seen = [0; 6];
    foreground.stdout.take().unwrap().read_exact(&mut seen).unwrap();
    kill_process_group(Pid::from_child(&foreground), Signal::KILL).unwrap();
    foreground.wait().unwrap();
    let runner = guest.runner_pid();
    assert_eq!(getsid(Some(runner)).unwrap(), runner, "a session of its own");
    let follower = guest.follower(6).spawn().unwrap();
    guest.go();
    let output = follower.wait_with_output().unwrap();
    assert_eq!((&seen, output.stdout.as_slice()), (b"fir\xffst", b"second".as_slice()));
    assert_handed_over(&guest, &output, 5);
}

#[test]
fn a_hangup_ends_a_follower_and_neither_runner_nor_job() {
    let guest = Guest::new();
    let foreground = guest.detached(&format!("echo ready; {WAIT_FOR_GO}")).spawn().unwrap();
    guest.wait_for_log("ready");
    let follower = guest.follower(0).spawn().unwrap();
    for child in [foreground, follower] {
        signal(&child, Signal::HUP);
        wait_for_end(child);
    }
    kill_process(guest.runner_pid(), Signal::HUP).unwrap();
    let follower = guest.follower(0).spawn().unwrap();
    guest.go();
    assert_handed_over(&guest, &follower.wait_with_output().unwrap(), 0);
}

#[test]
fn a_job_is_started_once_however_often_it_is_asked_for() {
    let guest = Guest::new();
    let script = format!("echo started; {WAIT_FOR_GO}; exit 6");
    let several: Vec<Child> = (0..8).map(|_| guest.detached(&script).spawn().unwrap()).collect();
    guest.wait_for_log("started");
    guest.go();
    let outputs = several.into_iter().map(|child| child.wait_with_output().unwrap());
    // Once more, when it is over.
    for output in outputs.chain([guest.detached(&script).output().unwrap()]) {
        assert_eq!(output.stdout, b"started\n");
        assert_handed_over(&guest, &output, 6);
    }
}

#[test]
fn a_runner_that_comes_when_the_job_is_over_starts_nothing() {
    let guest = Guest::new();
    assert!(guest.detached("echo first").output().unwrap().status.success());
    let result = guest.result();
    // As a second foreground would have started it, when the first one's runner was just ending.
    let mut late = guest.bare(&["run-detached"]);
    late.arg("--run-dir").arg(guest.path("run"));
    guest.set_job(&mut late, "echo second");
    let output = late.output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"".as_slice()));
    assert_eq!((guest.log().as_str(), guest.result()), ("first\n", result));
}

#[test]
fn term_and_interrupt_are_passed_on_by_every_follower_which_waits_for_the_result() {
    for (kind, is_foreground) in [(Signal::TERM, true), (Signal::INT, true), (Signal::TERM, false)] {
        let guest = Guest::new();
        let script = "trap 'echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
        let mut foreground = guest.detached(script).args(["--grace-ms", "20000"]).spawn().unwrap();
        guest.wait_for_log("ready");
        let followers = if is_foreground {
            vec![foreground]
        } else {
            foreground.kill().unwrap();
            foreground.wait().unwrap();
            vec![guest.follower(0).spawn().unwrap(), guest.follower(0).spawn().unwrap()]
        };
        // A follower that has printed something does listen.
        let mut followers = followers;
        followers[0].stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        signal(&followers[0], kind);
        for follower in followers {
            let output = follower.wait_with_output().unwrap();
            assert!(output.stdout.ends_with(b"tidied\n"), "{output:?}");
            assert_handed_over(&guest, &output, 130);
        }
        assert_eq!(guest.result()["status"], "cancelled");
    }
}

#[test]
fn a_second_signal_to_a_follower_ends_the_grace() {
    let guest = Guest::new();
    let script = "trap 'echo deaf' TERM; echo $$; echo ready; while :; do sleep 0.01; done";
    let foreground = guest.detached(script).args(["--grace-ms", "600000"]).spawn().unwrap();
    guest.wait_for_log("ready");
    signal(&foreground, Signal::TERM);
    guest.wait_for_log("deaf");
    signal(&foreground, Signal::TERM);
    assert_handed_over(&guest, &foreground.wait_with_output().unwrap(), 130);
    assert!(!is_alive(guest.log().lines().next().unwrap()));
}

#[test]
fn a_follower_that_nobody_reads_still_passes_signals_on() {
    let guest = Guest::new();
    let foreground = guest.detached("head -c 10000000 /dev/zero; echo ready; sleep 600").spawn().unwrap();
    guest.wait_for_log("ready");
    signal(&foreground, Signal::TERM);
    wait_until("result while nobody reads", || guest.path("artifacts/result.json").exists());
    let output = foreground.wait_with_output().unwrap();
    assert_eq!(output.stdout.len(), 10_000_006);
    assert_handed_over(&guest, &output, 130);
}

#[test]
fn stop_ends_the_job_and_says_when_there_is_none() {
    let guest = Guest::new();
    let assert_none = || {
        let output = guest.stopper().output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.starts_with("pikaci-incus-run: no job is running"), "{message}");
        assert!(message.contains(guest.path("run").to_str().unwrap()), "{message}");
    };
    assert_none();
    let foreground = guest.detached("echo ready; sleep 600").spawn().unwrap();
    guest.wait_for_log("ready");
    let output = guest.stopper().output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
    assert_handed_over(&guest, &foreground.wait_with_output().unwrap(), 130);
    assert_eq!(guest.result()["status"], "cancelled");
    assert_none();
}

#[test]
fn followers_of_a_killed_runner_print_what_there_is_and_say_that_it_is_gone() {
    let guest = Guest::new();
    let foreground = guest.detached(&format!("echo $$; echo ready; {WAIT_FOR_GO}")).spawn().unwrap();
    guest.wait_for_log("ready");
    let log = guest.log();
    let follower = guest.follower(0).spawn().unwrap();
    kill_process(guest.runner_pid(), Signal::KILL).unwrap();
    let start = Instant::now();
    let later = guest.follower(0).output().unwrap();
    let again = guest.detached("echo again").output().unwrap();
    for output in [foreground.wait_with_output().unwrap(), follower.wait_with_output().unwrap(), later, again]
    {
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), log.as_bytes()));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.starts_with("pikaci-incus-run: the runner is gone"), "{message}");
        assert!(message.contains(guest.path("artifacts").to_str().unwrap()), "{message}");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    guest.end_abandoned_job();
}

#[test]
fn following_where_no_job_was_started_ends_soon_and_says_so() {
    let guest = Guest::new();
    let start = Instant::now();
    let output = guest.follower(0).output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    assert_eq!(output.status.code(), Some(125));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("pikaci-incus-run: no job was started in this guest"), "{message}");
}

#[test]
fn a_runner_that_was_not_detached_has_the_run_folder_too_when_it_is_told_to() {
    let guest = Guest::new();
    let run = guest.path("run");
    let script = format!("echo ready; {WAIT_FOR_GO}; exit 4");
    let mut runner = guest.runner(&script);
    let child = runner.arg("--run-dir").arg(&run).stdout(Stdio::null()).spawn().unwrap();
    guest.wait_for_log("ready");
    let second = guest.runner("echo twice").arg("--run-dir").arg(&run).output().unwrap();
    assert_eq!(second.status.code(), Some(125));
    assert!(String::from_utf8(second.stderr).unwrap().contains("a job was started before"));
    let attached = guest.detached("echo twice").spawn().unwrap();
    guest.go();
    assert_eq!(finish(child), 4);
    let output = attached.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"ready\n");
    assert_handed_over(&guest, &output, 4);
}

#[test]
fn a_quiet_foreground_prints_the_result_alone() {
    let guest = Guest::new();
    let output = guest.detached("echo out").arg("--quiet").output().unwrap();
    assert_eq!((output.stdout.as_slice(), guest.log().as_str()), (b"".as_slice(), "out\n"));
    assert_handed_over(&guest, &output, 0);
}

#[test]
fn a_hundred_megabytes_without_a_line_arrive_whole_at_foreground_and_follower() {
    const BYTES: usize = 100_000_000;
    let guest = Guest::new();
    let foreground = guest.detached("head -c 100000000 /dev/zero | tr '\\0' '\\377'").output().unwrap();
    assert_eq!(foreground.stdout.len(), BYTES);
    // By pieces: an unoptimised loop over the bytes takes longer than the job.
    let piece = [0xff; 100_000];
    assert!(foreground.stdout.chunks(piece.len()).all(|chunk| chunk == piece));
    assert_handed_over(&guest, &foreground, 0);
    let rest = guest.follower(99_999_990).output().unwrap();
    assert_eq!(rest.stdout, [0xff; 10]);
}

#[test]
fn the_run_folder_is_the_runners_own() {
    let guest = Guest::new();
    assert!(guest.detached("true").output().unwrap().status.success());
    let mode = fs::metadata(guest.path("run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // Made before by somebody who was less careful.
    let guest = Guest::new();
    fs::create_dir(guest.path("run")).unwrap();
    fs::set_permissions(guest.path("run"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(guest.detached("true").output().unwrap().status.success());
    let mode = fs::metadata(guest.path("run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_run_folder_where_the_job_can_write_is_refused() {
    let guest = Guest::new();
    for place in ["artifacts/run", "artifacts", "cargo-home/a/b"] {
        fs::create_dir_all(guest.path("artifacts")).unwrap();
        fs::create_dir_all(guest.path("cargo-home")).unwrap();
        let output =
            guest.runner("touch started").arg("--detach").arg("--run-dir").arg(guest.path(place)).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(125), "{place}");
        let message = String::from_utf8(output.stderr).unwrap();
        for word in [guest.path(place).to_str().unwrap(), "--run-dir"] {
            assert!(message.contains(word), "{message}");
        }
    }
    assert!(!guest.path("snapshot/started").exists());
}

#[test]
fn a_link_is_no_run_folder() {
    let guest = Guest::new();
    fs::create_dir(guest.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(guest.path("elsewhere"), guest.path("run")).unwrap();
    let output = guest.detached("touch started").output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains(guest.path("run").to_str().unwrap()));
    assert!(!guest.path("snapshot/started").exists());
}

#[test]
fn a_detached_job_has_no_lifeline() {
    let guest = Guest::new();
    let output = guest.detached("touch started").arg("--lifeline").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("--detach") && message.contains("--lifeline"), "{message}");
    assert!(!guest.path("snapshot/started").exists());
}
