//! `docs/incus-migration-plan.md`: what it says of old records, variables and images, and that its commands are there.

use std::fs;
use std::process::Command;

use e2e::{Finished, IncusProject, Project, pikaci};
use pikaci::{LogKind, RunId, RunStatus, StateRoot, load_logs, load_run_record};

use crate::manifest::{of_jobs, target_text};

const DOCUMENT: &str = include_str!("../../../../docs/incus-migration-plan.md");
const NIX_README: &str = include_str!("../../../../nix/README.md");

/// The fenced example that is introduced by these words.
fn example(words: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(&format!("```{words}\n")).unwrap();
    rest.split("```").next().unwrap()
}

#[test]
fn an_old_record_is_shown_with_its_logs_wherever_its_state_root_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let id = RunId::parse("20250611T090000Z-00c0ffee").unwrap();
    let run = folder.path().join("runs").join(id.as_str());
    fs::create_dir_all(run.join("jobs/unit/artifacts")).unwrap();
    fs::write(run.join("run.json"), example("json old-record")).unwrap();
    fs::write(run.join("jobs/unit/artifacts/guest.log"), "1 test failed\n").unwrap();

    let state = StateRoot::new(folder.path());
    let record = load_run_record(&state, &id).unwrap();
    assert_eq!((record.status, record.outcome, record.fault), (RunStatus::Failed, None, None));
    let job = &record.jobs[0];
    assert_eq!(job.remote_linux_vm_execution.as_ref().unwrap().phases[0].duration_ms, 79_000);
    let logs = load_logs(&state, &id, None, LogKind::Both).unwrap();
    assert_eq!((logs.host.as_deref(), logs.guest.as_deref()), (None, Some("1 test failed\n")));
    let mut status = Command::new(pikaci());
    status.arg("--state-root").arg(folder.path()).args(["status", id.as_str(), "--json"]);
    assert_eq!(Finished::of(&mut status).expect(0).json()["jobs"][0]["exit_code"], 101);
}

#[test]
fn the_old_variable_does_nothing() {
    let project = Project::new(&of_jobs(&[("looks", "env; ls /workspace/snapshot")]));
    let mut command = project.command(&["run", "check"]);
    Finished::of(command.env("PIKACI_REMOTE_LINUX_VM_INCUS_MODE", "transfer")).expect(0);
    let log = project.pikaci(&["logs", "latest"]).output;
    assert!(log.contains("pikaci.toml") && !log.contains("INCUS_MODE"), "{log}");
}

#[test]
fn an_old_image_is_refused_in_the_documented_words() {
    let world = IncusProject::new(&target_text("check", &[("unit", "true")]));
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("metadata.yaml"),
        "architecture: x86_64\ncreation_date: 1\nproperties: {}\n",
    )
    .unwrap();
    fs::create_dir(folder.path().join("rootfs")).unwrap();
    let image = folder.path().join("image.tar");
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(&image).arg("--directory").arg(folder.path());
    Finished::of(tar.args(["metadata.yaml", "rootfs"])).expect(0);
    world.pikaci(&["image", "import", image.to_str().unwrap()]).expect(0);

    let refused = world.command(&["run", "check"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = [refused.stdout, refused.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(example("text refusal").trim()), "{said}");
}

/// The commands of `pikaci` in a page's examples.
fn commands(page: &'static str) -> Vec<&'static str> {
    page.lines().map(str::trim).filter(|line| line.starts_with("pikaci ")).collect()
}

#[test]
fn every_documented_command_is_one_that_there_is() {
    let commands = [commands(DOCUMENT), commands(NIX_README)].concat();
    assert!(commands.len() >= 10, "{commands:?}");
    for line in commands {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let is_command =
            |word: &&&str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
        let subcommand = words.iter().take_while(|word| !word.starts_with('-')).filter(is_command);
        let help = Finished::of(Command::new(pikaci()).args(subcommand).arg("--help")).expect(0).output;
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{line}: {option}");
        }
    }
}
