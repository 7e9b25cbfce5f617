//! `pikaci prepared list|show|rm|gc`, on what real runs have left.

use crate::project::{Project, wait_until};

const MANIFEST: &str = r#"version = 1

[prepared.tools]
provider = "command"
command = 'mkdir "$PIKACI_ARTIFACTS/out"; cp tool "$PIKACI_ARTIFACTS/out/tool"; grep -q good tool'
inputs = ["tool"]

[[targets.check.jobs]]
id = "unit"
prepared = ["tools"]
command = "cat /staged/tools/tool; echo ready; while grep -q slow /staged/tools/tool; do sleep 0.05; done"
"#;

fn project(tool: &str) -> Project {
    let project = Project::new(&[]);
    project.write("pikaci.toml", MANIFEST);
    project.write("tool", tool);
    project
}

#[test]
fn what_is_kept_is_listed_shown_removed_and_remembered() {
    let project = project("good\n");
    project.pikaci(&["run", "check"]).expect(0);
    let run = project.latest().run_id;
    let listed = project.pikaci(&["prepared", "list", "--json"]).expect(0).json();
    let key = listed[0]["key"].as_str().unwrap().to_owned();
    assert_eq!(
        (listed[0]["name"].as_str(), listed[0]["run_id"].as_str()),
        (Some("tools"), Some(run.as_str()))
    );
    for named in [&key, &key[..12], "tools"] {
        let shown = project.pikaci(&["prepared", "show", named]).expect(0).output;
        assert!(shown.contains(&key) && shown.contains("log       "), "{shown}");
    }
    project.pikaci(&["prepared", "rm", "tools"]).expect(0);
    assert_eq!(project.pikaci(&["prepared", "list", "--json"]).expect(0).json(), serde_json::json!([]));
    let shown = project.pikaci(&["prepared", "show", "tools"]).expect(0).output;
    assert!(shown.contains("was evicted at") && shown.contains("by rule \"asked for\""), "{shown}");
    for arguments in [["show", "other"], ["rm", "other"]] {
        let ended = project.pikaci(&[&["prepared"], arguments.as_slice()].concat()).expect(2);
        assert!(ended.errors.contains("pikaci prepared list"), "{ended:?}");
    }
    project.pikaci(&["prepared", "show", "other", "--json"]).expect(2);
}

#[test]
fn a_build_that_failed_shows_its_log_until_it_is_to_be_built_again() {
    let project = project("bad\n");
    project.pikaci(&["run", "check"]).expect(1);
    let listed = project.pikaci(&["prepared", "list"]).expect(0).output;
    assert!(listed.contains("tools") && listed.contains("could not be built"), "{listed}");
    let failed = project.pikaci(&["prepared", "show", "tools", "--json"]).expect(0).json();
    assert_eq!(failed, serde_json::json!([]));
    let shown = project.pikaci(&["prepared", "show", "tools"]).expect(0).output;
    assert!(shown.contains("Its log:"), "{shown}");
    let again = project.pikaci(&["run", "check"]).expect(1).output;
    assert!(again.contains(" --failed` has it built again"), "{again}");
    let why = project.pikaci(&["why", "latest", "--json"]).expect(0).json();
    let reproduce = why["job"]["reproduce"].as_str().unwrap();
    assert_eq!(reproduce, "pikaci run check/prepare.tools");
    project.pikaci(&reproduce.split(' ').skip(1).collect::<Vec<_>>()).expect(1);
    assert_eq!(project.latest().jobs[0].message, None, "it was not built again");
    project.pikaci(&["prepared", "rm", "tools"]).expect(0);
    project.pikaci(&["run", "check"]).expect(1);
    assert_eq!(project.latest().jobs[0].exit_code, Some(1));
}

#[test]
fn a_collection_beside_a_run_spares_what_it_uses_and_is_content() {
    let project = project("good slow\n");
    let mut running = project.start(&["run", "check"]);
    let run = project.wait_for_log("unit", "ready");
    for arguments in [&["gc"][..], &["prepared", "gc"]] {
        let budget = ["--max-size", "0", "--keep", "0"];
        let prepared = if arguments.len() == 1 { &["--max-prepared-size", "0"][..] } else { &[] };
        let ended = project.pikaci(&[arguments, &budget, prepared].concat()).expect(0);
        assert!(ended.output.contains("kept prepared output tools"), "{ended:?}");
    }
    project.pikaci(&["cancel", run.as_str()]).expect(0);
    running.wait().unwrap();
    let ended = project.pikaci(&["prepared", "gc", "--max-size", "0", "--keep", "0"]).expect(0);
    assert!(ended.output.contains("removed prepared output tools"), "{ended:?}");
}

#[test]
fn the_documented_example_runs_as_it_stands() {
    let page = include_str!("../../../../docs/formats/prepared.md");
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let project = Project::new(&[]);
    project.write("pikaci.toml", example);
    project.write("scripts/lint.sh", "#!/bin/sh\necho linted\n");
    project.pikaci(&["run", "pre-merge"]).expect(0);
    assert_eq!(project.pikaci(&["logs", "latest", "--job", "lint"]).expect(0).output, "linted\n");
}

/// Builds until it is told to come to its end.
const PATIENT: &str = r#"version = 1

[prepared.tools]
provider = "command"
command = '''
mkdir "$PIKACI_ARTIFACTS/out"
echo half > "$PIKACI_ARTIFACTS/out/file"
echo ready
while ! test -e "$PIKACI_ARTIFACTS/go"; do sleep 0.02; done
echo whole > "$PIKACI_ARTIFACTS/out/file"
'''
inputs = ["tool"]

[[targets.check.jobs]]
id = "unit"
prepared = ["tools"]
command = "cat /staged/tools/file"
"#;

#[test]
fn kill_9_in_the_middle_of_a_build_leaves_nothing_that_is_used_and_nothing_that_stays() {
    let project = Project::new(&[]);
    project.write("pikaci.toml", PATIENT);
    project.write("tool", "good\n");
    let mut running = project.start(&["run", "check"]);
    let killed = project.wait_for_log("prepare.tools", "ready");
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(project.pikaci(&["prepared", "list", "--json"]).expect(0).json(), serde_json::json!([]));

    let mut running = project.start(&["run", "check"]);
    let job = pikaci::JobId::parse("prepare.tools").unwrap();
    let second = || project.runs().into_iter().find(|run| *run != killed);
    let builds = |run| {
        std::fs::read_to_string(project.state().guest_log(&run, &job)).is_ok_and(|log| log == "ready\n")
    };
    wait_until("second build", || second().is_some_and(builds));
    std::fs::write(project.state().artifacts_dir(&second().unwrap(), &job).join("go"), "").unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(0));
    let run = second().unwrap();
    assert_eq!(project.pikaci(&["logs", run.as_str(), "--job", "unit"]).expect(0).output, "whole\n");
    let left = std::fs::read_dir(project.state().prepared_dir()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
}
