//! What people see without a terminal, and what programs get.

use crate::project::Project;

#[test]
fn people_see_each_job_and_a_table_of_phases() {
    let project = Project::new(&[("lint", "true"), ("unit", "true")]);
    let ended = project.pikaci(&["run", "check", "--jobs", "1"]).expect(0);
    insta::assert_snapshot!(project.steady(&ended.output));
    assert_eq!(ended.errors, "");
}

#[test]
fn people_see_why_a_run_failed_without_asking() {
    let project = Project::new(&[("unit", "echo 'error: the moon is not made of cheese'; exit 7")]);
    let ended = project.pikaci(&["run", "check"]).expect(1);
    insta::assert_snapshot!(project.steady(&ended.output));
}

#[test]
fn people_see_where_runs_stand() {
    let project = Project::new(&[("good", "true"), ("bad", "exit 3")]);
    project.pikaci(&["run", "check/good"]).expect(0);
    project.pikaci(&["run", "check"]).expect(1);
    project.pikaci(&["rerun", "latest", "--failed"]).expect(1);
    assert_eq!(project.pikaci(&["list"]).expect(0).output.lines().count(), 4);
    let ended = project.pikaci(&["status", "latest"]).expect(0);
    let steady = project.steady(&ended.output);
    let lines: Vec<&str> = steady.lines().collect();
    assert!(lines[0].ends_with(" failed, target check"), "{steady}");
    assert!(lines[1].starts_with("commit "), "{steady}");
    assert_eq!(lines[2..], ["job state took message", "bad failed (exit code 3) N s"]);
}

#[test]
fn json_is_the_record_and_nothing_else() {
    let project = Project::new(&[("unit", "echo noise")]);
    let ended = project.pikaci(&["run", "check", "--output", "json"]).expect(0);
    let printed: pikaci::RunRecord = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(printed, project.latest());
    let status = project.pikaci(&["status", "latest", "--json"]).expect(0);
    assert_eq!(serde_json::from_str::<pikaci::RunRecord>(&status.output).unwrap(), printed);
}

#[test]
fn jsonl_is_what_is_recorded() {
    let project = Project::new(&[("unit", "true")]);
    let ended = project.pikaci(&["run", "check", "--output", "jsonl"]).expect(0);
    let folder = project.state().run_dir(&project.latest().run_id);
    assert_eq!(ended.output, std::fs::read_to_string(folder.join("events.jsonl")).unwrap());
}

#[test]
fn completions_know_the_commands() {
    let project = Project::bare_folder();
    for shell in ["bash", "zsh", "fish"] {
        let script = project.pikaci(&["completions", shell]).expect(0).output;
        assert!(script.contains("prepared-outputs"), "{shell}");
    }
}
