//! What is proposed for which repository.

use std::fs;

use pikaci::{JobCommand, Manifest};
use tempfile::TempDir;

use super::{manifest_for, survey};

/// The jobs that are proposed for a repository with these files, and what each runs after its preparations.
fn proposed(files: &[(&str, &str)]) -> Vec<(String, String)> {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let manifest = Manifest::parse(&manifest_for(&survey(folder.path()))).unwrap();
    let last_line = |command: &JobCommand| match command {
        JobCommand::Shell(script) => script.lines().last().unwrap().to_owned(),
        JobCommand::Argv(arguments) => arguments.join(" "),
    };
    manifest.targets()[0].jobs.iter().map(|job| (job.id.to_string(), last_line(&job.command))).collect()
}

fn job(id: &str, command: &str) -> (String, String) {
    (id.to_owned(), command.to_owned())
}

#[test]
fn each_kind_of_project_gets_its_own_command() {
    let lock = ("Cargo.lock", "");
    assert_eq!(proposed(&[("Cargo.toml", ""), lock]), [job("cargo", "cargo test --workspace --locked")]);
    assert_eq!(proposed(&[("Cargo.toml", "")]), [job("cargo", "cargo test --workspace")]);
    let parts = proposed(&[("Cargo.toml", "[workspace]\nmembers = []\n"), lock]);
    let ids: Vec<&str> = parts.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["tests-1", "tests-2", "doc-tests"]);
    let archive = "--archive-file /staged/linux-rust/workspace-build/tests.tar.zst";
    assert!(parts[..2].iter().all(|(_, command)| command.contains(archive)), "{parts:?}");
    assert_eq!(proposed(&[("package.json", r#"{"scripts":{"test":"x"}}"#)]), [job("npm", "npm test")]);
    assert_eq!(proposed(&[("package.json", "{broken"), ("package-lock.json", "")]), [job("npm", "npm ci")]);
    assert_eq!(proposed(&[("pyproject.toml", "")]), [job("python", "python -m pytest")]);
    assert_eq!(proposed(&[("requirements.txt", "")]), [job("python", "python -m pytest")]);
    assert_eq!(proposed(&[("go.mod", "")]), [job("go", "go test ./...")]);
    assert_eq!(proposed(&[("Makefile", "all:\n\ntest : all\n")]), [job("make", "make test")]);
    assert_eq!(proposed(&[("Makefile", "check:\n\ttrue\n")]), [job("make", "make check")]);
    assert_eq!(proposed(&[("Makefile", "all:\n")]), [job("make", "make")]);
}

#[test]
fn several_kinds_become_several_jobs_and_make_gives_way() {
    let files = [("Cargo.toml", ""), ("Cargo.lock", ""), ("go.mod", ""), ("Makefile", "test:\n")];
    let ids: Vec<String> = proposed(&files).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["cargo", "go"]);
}

#[test]
fn a_repository_of_no_known_kind_gets_a_job_that_passes() {
    assert_eq!(proposed(&[]), [job("check", "test -e pikaci.toml")]);
}
