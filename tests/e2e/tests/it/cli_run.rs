//! `pikaci` on its own: what a run prints, records and exits with.

use e2e::Project;
use pikaci::{Fault, JobId, Outcome, RunStatus};
use rustix::process::Signal;

use crate::manifest::{WAITS, of_jobs};

#[test]
fn a_passing_run_ends_with_0_and_leaves_record_and_log() {
    let project = Project::new(&of_jobs(&[("greet", "cat greeting.txt")]));
    project.write("greeting.txt", "good morning\n");
    project.pikaci(&["run", "check"]).expect(0);
    let run = project.latest();
    assert_eq!(
        (&run.status, run.outcome.clone(), run.fault.clone()),
        (&RunStatus::Passed, Some(Outcome::Passed), None)
    );
    assert_eq!(run.git_dirty, Some(true), "an untracked file is part of the snapshot");
    assert_eq!(run.jobs[0].exit_code, Some(0));

    let logs = project.pikaci(&["logs", run.run_id.as_str(), "--kind", "guest"]).expect(0);
    assert!(logs.output.contains("good morning"), "{logs:?}");
    let status = project.pikaci(&["status", "latest", "--json"]).expect(0).json();
    assert_eq!(status["run_id"], run.run_id.as_str());
    let list = project.pikaci(&["list"]).expect(0);
    assert!(list.output.contains(run.run_id.as_str()), "{list:?}");
}

#[test]
fn a_failing_job_ends_the_run_with_1_and_why_shows_the_line_that_matters() {
    let script = "echo before; echo 'error: the moon is not made of cheese'; exit 7";
    let project = Project::new(&of_jobs(&[("good", "true"), ("bad", script)]));
    project.pikaci(&["run", "check"]).expect(1);
    let run = project.latest();
    let bad = run.jobs.iter().find(|job| job.id.as_str() == "bad").unwrap();
    assert_eq!(
        (bad.outcome.clone(), bad.fault.clone(), bad.exit_code),
        (Some(Outcome::Failed), Some(Fault::Job), Some(7))
    );
    let good = run.jobs.iter().find(|job| job.id.as_str() == "good").unwrap();
    assert_eq!(good.outcome, Some(Outcome::Passed));

    let why = project.pikaci(&["why", "latest"]);
    for word in ["bad", "7", "the moon is not made of cheese", "pikaci run check/bad"] {
        assert!(why.output.contains(word), "{word:?} is not in {}", why.output);
    }
    let why = project.pikaci(&["why", "latest", "--json"]).json();
    assert!(why.to_string().contains("the moon is not made of cheese"), "{why}");
}

#[test]
fn output_that_speaks_of_the_machinery_is_still_the_failure_of_a_test() {
    let script = "echo 'connection refused: the instance is gone'; exit 137";
    let project = Project::new(&of_jobs(&[("bad", script)]));
    project.pikaci(&["run", "check"]).expect(1);
    let job = project.latest().jobs.remove(0);
    assert_eq!((job.fault, job.exit_code, job.attempts.len()), (Some(Fault::Job), Some(137), 1));
}

#[test]
fn what_the_caller_got_wrong_ends_with_2_and_says_what_would_be_right() {
    let project = Project::new(&of_jobs(&[("unit", "true")]));
    let unknown = project.pikaci(&["run", "chekc"]).expect(2);
    assert!(unknown.errors.contains("check"), "{}", unknown.errors);
    project.pikaci(&["run"]).expect(2);
    project.pikaci(&["status", "../../etc/passwd"]).expect(2);

    project.write("pikaci.toml", "version = 1\n[targets.check]\ntitel = \"x\"\n");
    let broken = project.pikaci(&["run", "check"]).expect(2);
    for word in ["pikaci.toml:3:1", "title"] {
        assert!(broken.errors.contains(word), "{word:?} is not in {}", broken.errors);
    }
    assert_eq!(project.runs(), []);
}

#[test]
fn a_job_whose_runner_is_killed_is_tried_again_and_ends_with_3() {
    let script = "echo attempt; until grep -q attempt \"$PIKACI_ARTIFACTS/guest.log\"; do sleep 0.02; done
        kill -9 $PPID; sleep 60";
    let project = Project::new(&of_jobs(&[("lost", script)]));
    project.pikaci(&["run", "check"]).expect(3);
    let run = project.latest();
    assert_eq!((run.outcome, run.fault), (Some(Outcome::Failed), Some(Fault::Infra)));
    assert_eq!(run.jobs[0].attempts.len(), 3, "tried twice again");
    // No attempt overwrites another's log.
    let job = JobId::parse("lost").unwrap();
    let folder = project.state().job_dir(&run.run_id, &job);
    for log in ["attempts/1/artifacts/guest.log", "attempts/2/artifacts/guest.log", "artifacts/guest.log"] {
        assert_eq!(std::fs::read_to_string(folder.join(log)).unwrap(), "attempt\n", "{log}");
    }
}

#[test]
fn a_job_that_is_too_slow_ends_with_4_and_keeps_its_log() {
    let manifest = of_jobs(&[("slow", "echo begun; sleep 600")]) + "timeout = \"1s\"\n";
    let project = Project::new(&manifest);
    project.pikaci(&["run", "check"]).expect(4);
    let job = project.latest().jobs.remove(0);
    assert_eq!((job.outcome, job.fault), (Some(Outcome::TimedOut), Some(Fault::Job)));
    assert!(project.pikaci(&["logs", "latest"]).output.contains("begun"));
}

#[test]
fn ctrl_c_is_a_cancel_and_ends_with_130() {
    let project = Project::new(&of_jobs(&[("slow", WAITS)]));
    let mut running = project.start(&["run", "check"]);
    project.wait_for_log("slow", "ready");
    running.signal(Signal::INT);
    assert_eq!(running.wait(e2e::DEADLINE).code(), Some(130));
    let run = project.latest();
    assert_eq!((run.outcome, run.fault), (Some(Outcome::Cancelled), Some(Fault::User)));
}

#[test]
fn a_job_runs_only_after_what_it_needs_and_not_when_that_failed() {
    let manifest = of_jobs(&[("build", "exit 1"), ("test", "echo never")]) + "needs = [\"build\"]\n";
    let project = Project::new(&manifest);
    project.pikaci(&["run", "check"]).expect(1);
    let test = project.latest().jobs.into_iter().find(|job| job.id.as_str() == "test").unwrap();
    assert_eq!(test.outcome, Some(Outcome::Skipped));
    assert!(test.message.unwrap().contains("build"));
}

#[test]
fn path_filters_skip_only_when_the_caller_names_the_base() {
    let manifest = "version = 1\n[targets.check]\npaths = [\"src/**\"]\n[[targets.check.jobs]]\nid = \"unit\"\ncommand = \"true\"\n";
    let project = Project::new(manifest);
    project.write("README.md", "nothing that the target looks at\n");
    project.pikaci(&["run", "check"]).expect(0);
    assert_eq!(project.latest().status, RunStatus::Passed);
    let skipped = project.pikaci(&["run", "check", "--base", "HEAD", "--output", "json"]).expect(0).json();
    assert_eq!(skipped["status"], "skipped");
    project.write("src/lib.rs", "\n");
    let ran = project.pikaci(&["run", "check", "--base", "HEAD", "--output", "json"]).expect(0).json();
    assert_eq!(ran["status"], "passed");
}

#[test]
fn events_are_printed_as_they_are_recorded() {
    let project = Project::new(&of_jobs(&[("unit", "true")]));
    let finished = project.pikaci(&["run", "check", "--output", "jsonl"]).expect(0);
    let run = project.latest().run_id;
    let recorded = std::fs::read_to_string(project.state().run_dir(&run).join("events.jsonl")).unwrap();
    assert_eq!(finished.output, recorded);
    let events: Vec<serde_json::Value> =
        recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "run_started");
    assert_eq!(events.last().unwrap()["event"], "run_finished");
}

#[test]
fn a_job_sees_a_read_only_tree_and_nothing_of_the_callers_environment() {
    let script = "\
        cat pikaci.toml > /dev/null
        if echo x 2> /dev/null > written; then echo 'the tree is writable'; exit 1; fi
        env
        touch \"$PIKACI_ARTIFACTS/kept\" \"$CARGO_HOME/x\" \"$CARGO_TARGET_DIR/x\"";
    let project = Project::new(&(of_jobs(&[("look", script)]) + "artifacts = [\"kept\"]\n"));
    let output = project.command(&["run", "check"]).env("SECRET_OF_THE_CALLER", "hunter2").output().unwrap();
    let log = project.pikaci(&["logs", "latest"]).output;
    assert!(output.status.success(), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    let run = project.latest().run_id;
    assert!(project.state().artifacts_dir(&run, &JobId::parse("look").unwrap()).join("kept").is_file());
}
