//! Secrets of a job: files in memory, masked in the log, and nowhere else.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::guest::Guest;

const TOLD: &str = "pikaci-secrets 1\nfile DEPLOY 9\nhunter22\n\nfile OTHER 3\nxyz\nmask 8\nhunter22\nend\n";

/// Runs a command to its end with something on its standard input.
fn told(mut command: Command, secrets: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // A runner that wants none of it closes its input.
    let _ = child.stdin.take().unwrap().write_all(secrets.as_bytes());
    child.wait_with_output().unwrap()
}

/// A folder for secrets on a file system in memory, gone with the test.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

#[test]
fn a_job_reads_its_secrets_and_its_log_shows_none() {
    let script = "ls $PIKACI_SECRETS; cat $PIKACI_SECRETS/DEPLOY; printf hunt; sleep 0.2; echo er22; stat -c %a $PIKACI_SECRETS/OTHER; printf hunt";
    for is_detached in [false, true] {
        let (guest, memory) = (Guest::new(), in_memory());
        let mut command = if is_detached { guest.detached(script) } else { guest.runner(script) };
        command.arg("--secrets").arg("--secrets-dir").arg(memory.path().join("secrets"));
        let output = told(command, TOLD);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(guest.log(), "DEPLOY\nOTHER\n***\n***\n400\nhunt");
        if is_detached {
            assert_eq!(String::from_utf8_lossy(&output.stdout), guest.log());
        }
    }
}

#[test]
fn a_job_whose_secrets_do_not_come_whole_is_not_started() {
    for secrets in ["", "pikaci-secrets 1\nfile DEPLOY 900\nhunter22\n"] {
        for is_detached in [false, true] {
            let (guest, memory) = (Guest::new(), in_memory());
            let mut command = if is_detached { guest.detached("true") } else { guest.runner("true") };
            command.arg("--secrets").arg("--secrets-dir").arg(memory.path().join("secrets"));
            let output = told(command, secrets);
            assert_eq!(output.status.code(), Some(125), "{output:?}");
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(words.contains("cannot read the job's secrets"), "{words}");
        }
    }
}

#[test]
fn a_job_without_secrets_has_no_folder_of_them() {
    let guest = Guest::new();
    let output = told(guest.runner("echo \"${PIKACI_SECRETS-none}\""), TOLD);
    assert_eq!((output.status.code(), guest.log().as_str()), (Some(0), "none\n"));
    assert!(!fs::exists(guest.path("secrets")).unwrap());
}
