//! Where a run starts from: a new repository, a commit, a bare repository.

use std::process::Command;

use crate::project::{Project, ended};

#[test]
fn init_writes_a_manifest_whose_run_passes_and_overwrites_none() {
    let project = Project::bare_folder();
    project.git(&["init", "--quiet"]);
    project.write("Makefile", "test:\n\ttouch built\n");
    let written = project.pikaci(&["init"]).expect(0);
    insta::assert_snapshot!(project.steady(&written.output));
    project.pikaci(&["run", "pre-merge"]).expect(0);
    project.write("pikaci.toml", "mine");
    let refused = project.pikaci(&["init"]).expect(2);
    assert!(refused.errors.contains("left as it is"), "{}", refused.errors);
    assert_eq!(std::fs::read_to_string(project.source().join("pikaci.toml")).unwrap(), "mine");
}

#[test]
fn a_commit_is_tested_as_it_is_with_the_manifest_that_it_has() {
    let project = Project::new(&[("unit", "cat pikaci.toml > /dev/null; test ! -e note")]);
    project.write("note", "not committed");
    project.write("pikaci.toml", "broken");
    project.pikaci(&["run", "check", "--rev", "HEAD"]).expect(0);
    assert_eq!(project.latest().git_dirty, Some(false));
}

#[test]
fn a_bare_repository_needs_a_commit() {
    let project = Project::new(&[("unit", "test -e pikaci.toml")]);
    let bare = project.state().path().with_file_name("bare.git");
    let source = project.source();
    project.git(&["clone", "--quiet", "--bare", source.to_str().unwrap(), bare.to_str().unwrap()]);
    let run = |arguments: &[&str]| {
        let mut command: Command = project.command(arguments);
        ended(&command.current_dir(&bare).output().unwrap())
    };
    let refused = run(&["run", "check"]).expect(2);
    assert!(refused.errors.contains("--rev"), "{}", refused.errors);
    run(&["run", "check", "--rev", "HEAD"]).expect(0);
}

#[test]
fn a_run_may_start_below_the_top_folder_and_keeps_its_state_where_it_is_told() {
    let project = Project::new(&[("unit", "test -e src/lib.rs")]);
    project.write("src/lib.rs", "");
    let mut command = project.command(&["run", "check"]);
    command.env_remove("PIKACI_STATE_ROOT").current_dir(project.source().join("src"));
    assert!(command.output().unwrap().status.success());
    assert!(project.source().join("src/.pikaci/runs").is_dir());
    project.pikaci(&["--state-root", "elsewhere", "run", "check"]).expect(0);
    assert!(project.source().join("elsewhere/runs").is_dir());
}

#[test]
fn a_rerun_uses_the_tree_of_the_first_run() {
    let project = Project::new(&[("good", "true"), ("bad", "cat note; exit 3")]);
    project.write("note", "first\n");
    project.pikaci(&["run", "check", "--run-id", "20260301T142233Z-7f3a9c10"]).expect(1);
    project.write("note", "second\n");
    project.pikaci(&["rerun", "20260301T142233Z-7f3a9c10", "--failed"]).expect(1);
    let again = project.latest();
    assert_eq!(again.jobs.len(), 1);
    assert_eq!(project.pikaci(&["logs", again.run_id.as_str()]).expect(0).output, "first\n");
}

#[test]
fn a_rerun_runs_where_the_first_run_ran() {
    let project = Project::new(&[("unit", "true")]);
    project.pikaci(&["run", "check"]).expect(0);
    let first = project.latest().run_id;
    let rerun = |arguments: &[&str]| {
        let mut command = project.command(&[&["rerun", first.as_str()], arguments].concat());
        command.env("PIKACI_EXECUTOR", "incus").env("INCUS_SOCKET", "/nowhere");
        ended(&command.output().unwrap())
    };
    rerun(&[]).expect(0);
    let path = project.state().run_dir(&first).join("run.json");
    let record = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, record.replace("host_local", "remote_linux_vm")).unwrap();
    // The server is not there, so it is not the host that runs it.
    let refused = rerun(&[]).expect(2);
    assert!(refused.errors.contains("/nowhere"), "{}", refused.errors);
    rerun(&["--executor", "local"]).expect(0);
}
