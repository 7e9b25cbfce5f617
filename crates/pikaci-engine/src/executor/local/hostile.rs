//! What the tested code may try: to leave its sandbox, to outlive its run, to have others blamed.

use std::fs;
use std::time::{Duration, Instant};

use pikaci::{Event, Fault, JobSpec, RunRecord};

use crate::exam::{Fixture, local};
use crate::executor::sample_shell_job;

/// The longest that a cancelled job may live.
const CANCEL_MAX: Duration = Duration::from_secs(5);

fn run(is_isolated: bool, job: &JobSpec) -> (Fixture, RunRecord, Vec<Event>) {
    let fixture = Fixture::new();
    let (record, events) = fixture.run(fixture.request(vec![job.clone()]), local(is_isolated), |_| false);
    (fixture, record, events)
}

/// A number of seconds that nobody else sleeps for.
fn unique_seconds() -> String {
    let id = pikaci::RunId::random(jiff::Timestamp::now());
    let random = u32::from_str_radix(&id.as_str()[17..], 16).unwrap();
    format!("86400.{random}")
}

/// Waits until no process has the argument.
fn assert_gone(argument: &str) {
    let is_there = || {
        fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
        })
    };
    let start = Instant::now();
    while is_there() {
        assert!(start.elapsed() < CANCEL_MAX, "a process of the job is still there");
        std::thread::yield_now();
    }
}

#[test]
fn root_of_a_sandbox_cannot_make_the_hosts_files_writable() {
    let command =
        "mount -o remount,rw,bind /workspace/snapshot; echo changed > file; grep CapEff /proc/self/status";
    let job = JobSpec { run_as_root: true, ..sample_shell_job("root", &format!("set +e; {command}")) };
    let (fixture, record, _) = run(true, &job);
    let frozen = std::path::Path::new(&record.snapshot_dir).join("file");
    assert_eq!(fs::read_to_string(frozen).unwrap(), "content\n");
    let log = fs::read_to_string(fixture.state.guest_log(&record.run_id, &job.id)).unwrap();
    assert!(log.contains("CapEff:\t0000000000000000"), "{log}");
}

#[test]
fn a_sandbox_has_no_terminal_to_type_into() {
    let job = sample_shell_job("terminal", "test /dev/tty -ef /dev/null");
    assert_eq!(run(true, &job).1.jobs[0].exit_code, Some(0));
}

#[test]
fn a_job_that_stops_its_runner_has_not_been_cancelled_by_a_person() {
    for is_isolated in [true, false] {
        let job = sample_shell_job("blamer", "kill -TERM $PPID; sleep 60");
        let (_, record, _) = run(is_isolated, &job);
        assert_eq!(record.jobs[0].fault, Some(Fault::Infra), "isolated: {is_isolated}");
    }
}

#[test]
fn a_job_that_kills_its_runner_does_not_outlive_it() {
    for is_isolated in [true, false] {
        let seconds = unique_seconds();
        let job = sample_shell_job("killer", &format!("sleep {seconds} & kill -9 $PPID; wait"));
        let (_, record, _) = run(is_isolated, &job);
        assert_eq!((&record.jobs[0].fault, record.jobs[0].attempts.len()), (&Some(Fault::Infra), 3));
        assert_gone(&seconds);
    }
}

#[test]
fn a_job_that_freezes_its_runner_is_gone_within_five_seconds_of_a_cancel() {
    for is_isolated in [true, false] {
        let fixture = Fixture::new();
        let seconds = unique_seconds();
        // What is still in the pipe to a frozen runner never reaches the log.
        let script = format!(
            "echo frozen; until [ -s \"$PIKACI_ARTIFACTS/guest.log\" ]; do sleep 0.02; done\nkill -STOP $PPID; sleep {seconds}"
        );
        let job = sample_shell_job("freezer", &script);
        let request = fixture.request(vec![job]);
        let log = fixture.state.guest_log(&request.run_id, &request.jobs[0].id);
        let mut cancelled_at = None;
        let cancel_when = |event: &Event| {
            let is_started =
                matches!(event, Event::PhaseFinished { phase, .. } if phase.phase == "launch_guest");
            let start = Instant::now();
            while is_started && fs::read_to_string(&log).unwrap_or_default().is_empty() {
                assert!(start.elapsed() < Duration::from_secs(10), "the job never began");
                std::thread::yield_now();
            }
            cancelled_at = cancelled_at.or(is_started.then(Instant::now));
            is_started
        };
        let (record, _) = fixture.run(request, local(is_isolated), cancel_when);
        assert!(cancelled_at.unwrap().elapsed() < CANCEL_MAX, "{:?}", cancelled_at.unwrap().elapsed());
        assert_eq!(record.fault, Some(Fault::User), "isolated: {is_isolated}");
        assert_gone(&seconds);
    }
}

#[test]
fn artifacts_deeper_than_a_path_may_be_long_are_removed_and_change_no_verdict() {
    // Two folders as deep as a path may be long, one within the other.
    let command = r#"
        deep=$(for i in $(seq 18); do printf '/%0200d' 0; done)
        mkdir -p /artifacts/one$deep /artifacts/two$deep
        mv /artifacts/two /artifacts/one$deep/
    "#;
    let (_, record, events) = run(true, &sample_shell_job("digger", command));
    assert_eq!((record.jobs[0].exit_code, record.jobs[0].attempts.len()), (Some(0), 1));
    assert!(!events.iter().any(|event| matches!(event, Event::CleanupFailed { .. })), "{events:?}");
}
