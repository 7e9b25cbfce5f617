//! Logs, names of runs, explanations, sweeps.

use std::io::Read as _;

use crate::project::{Project, finish};

#[test]
fn a_run_is_named_by_a_unique_beginning() {
    let project = Project::new(&[("unit", "echo hello")]);
    for id in ["20260301T142233Z-0000000a", "20260302T142233Z-0000000b"] {
        project.pikaci(&["run", "check", "--run-id", id]).expect(0);
    }
    let one = project.pikaci(&["status", "20260301"]).expect(0);
    assert!(one.output.contains("20260301T142233Z-0000000a"), "{}", one.output);
    let many = project.pikaci(&["status", "2026"]).expect(2);
    assert!(many.errors.contains("2 runs begin with 2026"), "{}", many.errors);
    project.pikaci(&["status", "2027"]).expect(2);
    let latest = project.pikaci(&["status", "latest", "--json"]).expect(0).json();
    assert_eq!(latest["run_id"], "20260302T142233Z-0000000b");
    let taken = project.pikaci(&["run", "check", "--run-id", "20260301T142233Z-0000000a"]).expect(2);
    assert!(taken.errors.contains("exists already"), "{}", taken.errors);
}

#[test]
fn logs_are_the_bytes_that_the_command_printed() {
    let project = Project::new(&[("good", "echo good"), ("bad", r"printf 'a\377b'; exit 1")]);
    project.pikaci(&["run", "check"]).expect(1);
    let bytes = |arguments: &[&str]| project.command(arguments).output().unwrap().stdout;
    assert_eq!(bytes(&["logs", "latest"]), b"a\xffb", "of the job that did not pass");
    assert_eq!(bytes(&["logs", "latest", "--job", "good"]), b"good\n");
    assert_eq!(bytes(&["logs", "latest", "--job", "good", "--follow"]), b"good\n");
    let both = project.pikaci(&["logs", "latest", "--job", "good", "--kind", "both"]).expect(0).output;
    assert!(both.starts_with("==> host.log <==\n") && both.ends_with("==> guest.log <==\ngood\n"), "{both}");
    project.pikaci(&["logs", "latest", "--job", "ugly"]).expect(2);
    let metadata = project.pikaci(&["logs", "latest", "--metadata-json", "--job", "good"]).expect(0).json();
    assert_eq!(metadata["jobs"][0]["guest_log_bytes"], 5);
}

#[test]
fn a_follower_sees_a_line_before_the_job_ends_and_stops_with_it() {
    let project = Project::new(&[(
        "slow",
        "echo first; while ! test -e \"$PIKACI_ARTIFACTS/go\"; do sleep 0.01; done; echo last",
    )]);
    let running = project.start(&["run", "check"]);
    let run = project.wait_for_log("slow", "first");
    let mut follower = project.start(&["logs", "latest", "--follow"]);
    let mut first = [0; 6];
    follower.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first\n");
    let artifacts = project.state().artifacts_dir(&run, &pikaci::JobId::parse("slow").unwrap());
    std::fs::write(artifacts.join("go"), "").unwrap();
    assert_eq!(finish(follower).expect(0).output, "last\n");
    finish(running).expect(0);
}

#[test]
fn why_names_the_job_its_code_and_how_to_repeat_it() {
    let project = Project::new(&[("unit", "exit 7")]);
    project.pikaci(&["run", "check"]).expect(1);
    let why = project.pikaci(&["why", "latest"]).expect(0).output;
    for word in ["unit", "exit code 7", "pikaci run check/unit"] {
        assert!(why.contains(word), "{word:?} is not in {why}");
    }
    let why = project.pikaci(&["why", "latest", "--json"]).expect(0).json();
    assert_eq!(why["job"]["exit_code"], 7);
}

#[test]
fn nothing_was_prepared_is_said_in_both_forms() {
    let project = Project::new(&[("unit", "true")]);
    project.pikaci(&["run", "check"]).expect(0);
    assert!(
        project.pikaci(&["prepared-outputs", "latest"]).expect(0).output.contains("nothing was prepared")
    );
    assert!(project.pikaci(&["prepared-outputs", "latest", "--json"]).expect(0).json().is_null());
}

#[test]
fn a_sweep_finishes_what_a_killed_pikaci_left() {
    let project = Project::new(&[("slow", "echo ready; sleep 600")]);
    let mut child = project.start(&["run", "check"]);
    let run = project.wait_for_log("slow", "ready");
    child.kill().unwrap();
    child.wait().unwrap();
    let listed = project.pikaci(&["list", "--json"]).expect(0).json();
    assert_eq!(listed[0]["status"], "failed", "readers need no sweep");
    let swept = project.pikaci(&["sweep"]).expect(0).output;
    assert!(swept.contains(run.as_str()), "{swept}");
    assert_eq!(project.pikaci(&["sweep"]).expect(0).output, "nothing to sweep\n");
}

#[test]
fn an_unreadable_run_is_listed_and_does_not_hide_the_others() {
    let project = Project::new(&[("unit", "true")]);
    project.pikaci(&["run", "check"]).expect(0);
    let broken = project.state().runs_dir().join("20260301T142233Z-7f3a9c10");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("run.json"), "{").unwrap();
    let list = project.pikaci(&["list"]).expect(0).output;
    assert!(list.contains("passed") && list.contains("unreadable"), "{list}");
}
