//! What the local executor alone promises: the guest's view, and the way out when there is no sandbox.

use std::fs;
use std::sync::Arc;

use pikaci::{Event, JobSpec, RunStatus};

use super::*;
use crate::exam::{Fixture, local, runner};
use crate::executor::sample_shell_job;

/// Runs one job to its end and returns its log.
fn log_of(executor: Arc<LocalExecutor>, job: JobSpec) -> (RunStatus, String, Vec<Event>) {
    let fixture = Fixture::new();
    let id = job.id.clone();
    let (record, events) = fixture.run(fixture.request(vec![job]), executor, |_| false);
    let log = fs::read_to_string(fixture.state.guest_log(&record.run_id, &id)).unwrap_or_default();
    assert!(!fixture.state.run_dir(&record.run_id).join("scratch").exists(), "the scratch folder was left");
    (record.status, log, events)
}

#[test]
fn a_job_in_a_sandbox_sees_the_guest_and_nothing_of_the_host() {
    let probe = r#"
        pwd; cat file; id -un; id -u; echo $HOME $CARGO_HOME $CARGO_TARGET_DIR
        touch /artifacts/a /cargo-home/b /cargo-target/c $HOME/d /tmp/e && echo writable
        touch file 2>/dev/null || echo read-only
        test -z "$(ls -A /root)" && ! test -e /etc/shadow && ! test -e /etc/ssl/private && ! test -e /var/lib && echo hidden
        ls /proc | grep -c '^[0-9]'
        cat /sys/class/net/*/operstate 2>/dev/null || true
    "#;
    let (status, log, _) = log_of(local(true), sample_shell_job("probe", probe));
    assert_eq!(status, RunStatus::Passed, "{log}");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        &lines[..8],
        [
            "/workspace/snapshot",
            "content",
            "pikaci",
            "1000",
            "/home/pikaci /cargo-home /cargo-target",
            "writable",
            "read-only",
            "hidden"
        ],
        "{log}"
    );
    let processes: u32 = lines[8].parse().unwrap();
    assert!(processes < 8, "{log}");
}

#[test]
fn a_job_that_asks_for_root_is_root_of_its_sandbox_alone() {
    let job = JobSpec {
        run_as_root: true,
        ..sample_shell_job("root", "id -u; touch /usr/x || echo still read-only")
    };
    let (_, log, _) = log_of(local(true), job);
    assert!(log.starts_with("0\n") && log.contains("still read-only"), "{log}");
}

#[test]
fn without_a_sandbox_the_same_names_come_through_the_environment_and_it_is_said_once() {
    let probe = "cat $PIKACI_SNAPSHOT/file; touch $PIKACI_ARTIFACTS/a $CARGO_HOME/b $CARGO_TARGET_DIR/c $HOME/d && pwd";
    let fixture = Fixture::new();
    let jobs = vec![sample_shell_job("one", probe), sample_shell_job("two", probe)];
    let (record, events) = fixture.run(fixture.request(jobs), local(false), |_| false);
    assert_eq!(record.status, RunStatus::Passed);
    let notices: Vec<&Event> = events.iter().filter(|event| matches!(event, Event::Notice { .. })).collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
}

#[test]
fn a_sandbox_that_cannot_be_made_is_done_without_and_that_is_said() {
    let executor = LocalExecutor::new(LocalConfig {
        runner: runner(),
        runner_arguments: Vec::new(),
        bubblewrap: Some("/bin/false".into()),
        path: "/usr/bin:/bin".into(),
        path_folders: Vec::new(),
        home: None,
    });
    let (status, log, events) = log_of(Arc::new(executor), sample_shell_job("unit", "echo hello"));
    assert_eq!((status, log.as_str()), (RunStatus::Passed, "hello\n"));
    assert!(events.iter().any(|event| matches!(event, Event::Notice { .. })));
}

#[test]
fn a_runner_that_is_missing_is_the_machinerys_fault_and_is_tried_three_times() {
    let executor = LocalExecutor::new(LocalConfig {
        runner: "/nowhere/pikaci".into(),
        runner_arguments: Vec::new(),
        bubblewrap: None,
        path: "/usr/bin:/bin".into(),
        path_folders: Vec::new(),
        home: None,
    });
    let fixture = Fixture::new();
    let jobs = vec![sample_shell_job("unit", "true")];
    let (record, _) = fixture.run(fixture.request(jobs), Arc::new(executor), |_| false);
    assert_eq!(record.fault, Some(pikaci::Fault::Infra));
    assert_eq!(record.jobs[0].attempts.len(), 3);
}

#[test]
fn hostile_results_and_links_are_not_believed() {
    let command = r#"
        echo '{"status":"passed","exit_code":0,"started_at":"2026-01-01T00:00:00Z","finished_at":"2026-01-01T00:00:00Z"}' > /artifacts/result.json
        ln -s /etc/passwd /artifacts/link; rm -f /artifacts/guest.log; ln -s /etc/passwd /artifacts/guest.log
        exit 3
    "#;
    let fixture = Fixture::new();
    let mut job = sample_shell_job("hostile", command);
    job.artifacts = vec!["**".to_owned()];
    let (record, _) = fixture.run(fixture.request(vec![job.clone()]), local(true), |_| false);
    assert_eq!((record.jobs[0].exit_code, &record.jobs[0].fault), (Some(3), &Some(pikaci::Fault::Job)));
    let artifacts = fixture.state.artifacts_dir(&record.run_id, &job.id);
    assert!(
        !artifacts.join("link").exists()
            && fs::symlink_metadata(artifacts.join("guest.log")).unwrap().is_file()
    );
}
