//! `pikaci` on its own: signals, crashes, repeats, and what is removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use e2e::{Project, is_alive, processes_with_argument, soon};
use pikaci::{Fault, JobId, Outcome, RunStatus};

use crate::manifest::{endless, of_jobs, of_target, target_text, unique_seconds};

/// The longest that a cancelled job may live.
const CANCEL_MAX: Duration = Duration::from_secs(5);
/// After a crash nobody waits, but the job's own processes get their grace.
const CRASH_MAX: Duration = Duration::from_secs(15);

#[test]
fn cancel_stops_every_process_within_five_seconds_and_keeps_the_log() {
    let seconds = unique_seconds();
    let project =
        Project::new(&of_jobs(&[("stuck", &format!("trap '' TERM; {} & wait", endless(&seconds)))]));
    let mut running = project.start(&["run", "check"]);
    let run = project.wait_for_log("stuck", "ready");
    assert!(!processes_with_argument(&seconds).is_empty());

    let start = Instant::now();
    project.pikaci(&["cancel", run.as_str()]).expect(0);
    assert_eq!(running.wait(CANCEL_MAX).code(), Some(130));
    assert!(start.elapsed() < CANCEL_MAX, "{:?}", start.elapsed());
    assert_eq!(processes_with_argument(&seconds), Vec::<u32>::new());
    let record = project.latest();
    assert_eq!((record.outcome, record.fault), (Some(Outcome::Cancelled), Some(Fault::User)));
    assert!(project.pikaci(&["logs", run.as_str()]).output.contains("ready"));
}

#[test]
fn kill_9_of_pikaci_leaves_no_process_behind_and_sweep_finishes_the_record() {
    let seconds = unique_seconds();
    let project = Project::new(&of_jobs(&[("stuck", &endless(&seconds)), ("after", "true")]));
    let mut running = project.start(&["run", "check", "--jobs", "1"]);
    let run = project.wait_for_log("stuck", "ready");
    running.kill();
    soon("no process of the job is left", CRASH_MAX, || {
        processes_with_argument(&seconds).is_empty().then_some(())
    });

    // Readers know at once.
    let record = project.latest();
    assert_eq!((record.status, record.fault), (RunStatus::Failed, Some(Fault::Infra)));
    project.pikaci(&["sweep"]).expect(0);
    let stored = pikaci::store::load_stored_run_record(&project.state(), &run).unwrap();
    assert_eq!(stored.status, RunStatus::Failed);
    assert!(stored.finished_at.is_some());
    let events = fs::read_to_string(project.state().run_dir(&run).join("events.jsonl")).unwrap();
    assert_eq!(events.matches("\"event\":\"run_finished\"").count(), 1);
    project.pikaci(&["sweep"]).expect(0);
    assert_eq!(fs::read_to_string(project.state().run_dir(&run).join("events.jsonl")).unwrap(), events);
}

#[test]
fn a_job_that_froze_its_runner_does_not_outlive_pikaci_either() {
    let seconds = unique_seconds();
    let command = format!(
        "echo ready; while ! test -e /artifacts/go; do sleep 0.02; done; kill -STOP $PPID; touch /artifacts/frozen; exec sleep {seconds}"
    );
    let project = Project::new(&of_jobs(&[("stuck", &command)]));
    let mut running = project.start(&["run", "check"]);
    let run = project.wait_for_log("stuck", "ready");
    let artifacts = project.state().artifacts_dir(&run, &JobId::parse("stuck").unwrap());
    fs::write(artifacts.join("go"), "").unwrap();
    soon("the runner is frozen", CRASH_MAX, || artifacts.join("frozen").exists().then_some(()));
    running.kill();
    soon("no process of the job is left", CRASH_MAX, || {
        processes_with_argument(&seconds).is_empty().then_some(())
    });
}

#[test]
fn rerun_failed_repeats_what_did_not_pass_from_the_same_snapshot() {
    let project = Project::new(&of_jobs(&[("good", "true"), ("bad", "cat note; exit 3")]));
    project.write("note", "first\n");
    project.pikaci(&["run", "check"]).expect(1);
    let first = project.latest();
    project.write("note", "second\n");
    project.pikaci(&["rerun", first.run_id.as_str(), "--failed"]).expect(1);
    let second = project.latest();
    assert_ne!(second.run_id, first.run_id);
    assert_eq!(second.rerun_of, Some(first.run_id.clone()));
    assert_eq!(second.snapshot_digest, first.snapshot_digest);
    let jobs: Vec<&str> = second.jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(jobs, ["bad"]);
    assert!(project.pikaci(&["logs", second.run_id.as_str()]).output.contains("first"));
    // The first run is as it was.
    let again = pikaci::load_run_record(&project.state(), &first.run_id).unwrap();
    assert_eq!(again, first);
}

#[test]
fn gc_removes_what_is_over_the_budget_and_spares_what_still_runs() {
    let seconds = unique_seconds();
    let manifest =
        of_target("quick", &[("unit", "true")]) + &target_text("long", &[("stuck", &endless(&seconds))]);
    let project = Project::new(&manifest);
    project.pikaci(&["run", "quick"]).expect(0);
    let ended = project.latest();
    project.write("note", "another tree\n");
    let running = project.start(&["run", "long"]);
    let run = project.wait_for_log("stuck", "ready");

    // As the forge asks, with bounds that nothing exceeds.
    let roomy = "gc --max-size 1GiB --keep 5 --max-age-days 90 --max-logs-size 1048576KiB --max-artifacts-size 1GiB --max-snapshots-size 1GiB --max-prepared-size 1GiB";
    project.pikaci(&roomy.split(' ').collect::<Vec<_>>()).expect(0);
    assert_eq!(project.runs().len(), 2);
    let removed = project.pikaci(&["gc", "--max-size", "0", "--keep", "0"]).expect(0);
    assert!(removed.output.contains(ended.run_id.as_str()), "it says what it removed: {removed:?}");
    assert_eq!(project.runs(), std::slice::from_ref(&run));
    assert!(!project.state().snapshot_dir(&ended.snapshot_digest.unwrap()).exists());
    assert!(is_alive(running.pid()));
    let record = pikaci::load_run_record(&project.state(), &run).unwrap();
    assert_eq!(record.status, RunStatus::Running);
    assert!(project.state().snapshot_dir(&record.snapshot_digest.unwrap()).is_dir());
}

#[test]
fn a_forged_record_reads_nothing_outside_its_run() {
    let project = Project::new(&of_jobs(&[("unit", "echo honest")]));
    project.pikaci(&["run", "check"]).expect(0);
    let run = project.latest().run_id;
    let folder = project.state().run_dir(&run);
    let secret = project.source().join("secret");
    fs::write(&secret, "hunter2\n").unwrap();

    let record = fs::read_to_string(folder.join("run.json")).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
    for key in ["host_log_path", "guest_log_path"] {
        record["jobs"][0][key] = secret.to_str().unwrap().into();
    }
    fs::write(folder.join("run.json"), record.to_string()).unwrap();
    let honest = project.pikaci(&["logs", run.as_str(), "--kind", "both"]).output;
    assert!(honest.contains("honest") && !honest.contains("hunter2"), "{honest}");

    let log = project.state().guest_log(&run, &JobId::parse("unit").unwrap());
    fs::remove_file(&log).unwrap();
    symlink(&secret, &log).unwrap();
    let linked = project.pikaci(&["logs", run.as_str(), "--kind", "guest"]);
    assert!(!linked.output.contains("hunter2") && !linked.errors.contains("hunter2"), "{linked:?}");
}
