//! `pikaci guest-run`: the guest runner under another name.

use std::fs;
use std::process::Command;

#[test]
fn a_detached_runner_is_started_by_the_name_that_it_has_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("snapshot")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pikaci"));
    command.args(["guest-run", "run", "--detach", "--same-user", "--run-dir"]).arg(path("run"));
    for option in ["snapshot", "artifacts", "cargo-home", "cargo-target"] {
        command.arg(format!("--{option}")).arg(path(option));
    }
    command.env("PIKACI_INCUS_GUEST_COMMAND", "echo here; exit 3");
    command.env("PIKACI_INCUS_TIMEOUT_SECS", "20").env("PIKACI_INCUS_RUN_AS_ROOT", "0");
    let output = command.output().unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(3), b"here\n".as_slice()),
        "{output:?}"
    );
    assert_eq!(output.stderr, fs::read(path("artifacts/result.json")).unwrap());
}
