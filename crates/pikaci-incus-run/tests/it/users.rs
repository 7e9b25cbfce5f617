//! Root's runner and the job of the user `pikaci`, in a mount namespace that has an `/etc/passwd` of its own.
//!
//! Only root can become somebody else. Where these tests cannot be run they say so.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Output, Stdio};

use crate::guest::{Guest, program};

/// Whether this process may make a mount namespace as root. Says so when not.
fn can_mount() -> bool {
    let mounts = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    let is_root = rustix::process::geteuid().is_root();
    let can = is_root && mounts.is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("not run: this needs root and a mount namespace");
    }
    can
}

/// Runs the job as the contract's user, or as root, after a script that mounts; `$1` is the folder of the guest.
fn run(guest: &Guest, mounts: &str, script: &str, is_root: bool) -> Output {
    // Everybody may pass through the folder, as through `/` of a guest.
    fs::set_permissions(guest.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(guest.path("passwd"), passwd(guest)).unwrap();
    let setup = format!("set -e; {mounts}; shift; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &setup, "sh"]).arg(guest.path("")).arg(program());
    command.args(["run", "--detach", "--run-dir"]).arg(guest.path("run"));
    for option in ["snapshot", "artifacts", "cargo-home", "cargo-target"] {
        command.arg(format!("--{option}")).arg(guest.path(option));
    }
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    command.env("PIKACI_INCUS_GUEST_COMMAND", script).env("PIKACI_INCUS_TIMEOUT_SECS", "20");
    command.env("PIKACI_INCUS_RUN_AS_ROOT", if is_root { "1" } else { "0" });
    command.output().unwrap()
}

fn passwd(guest: &Guest) -> String {
    let home = guest.path("home");
    format!("root:x:0:0::/root:/bin/sh\npikaci:x:1000:1000::{}:/bin/sh\n", home.display())
}

const OWN_PASSWD: &str = "mount --bind \"$1\"/passwd /etc/passwd";

#[test]
fn roots_runner_runs_the_job_as_pikaci_with_folders_of_its_own() {
    if !can_mount() {
        return;
    }
    let guest = Guest::new();
    let script = r#"echo "$(id -u) $(id -g) $(id -G) $USER $LOGNAME"
for folder in "$HOME" "$PIKACI_ARTIFACTS" "$CARGO_HOME" "$CARGO_TARGET_DIR"; do touch "$folder/mine" || exit 1; done
echo again > /dev/stdout
exit 3"#;
    let output = run(&guest, OWN_PASSWD, script, false);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1000 1000 1000 pikaci pikaci\nagain\n",
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(guest.result()["status"], "failed");
    for (name, owner) in
        [("home/mine", 1000), ("artifacts/mine", 1000), ("artifacts/result.json", 0), ("run", 0)]
    {
        assert_eq!(fs::metadata(guest.path(name)).unwrap().uid(), owner, "{name}");
    }
}

#[test]
fn a_job_that_asks_for_root_is_root() {
    if !can_mount() {
        return;
    }
    let guest = Guest::new();
    let output = run(&guest, OWN_PASSWD, "id -u; echo $USER", true);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"0\nroot\n".as_slice()));
}

#[test]
fn the_job_can_neither_end_its_runner_nor_speak_for_it() {
    if !can_mount() {
        return;
    }
    let guest = Guest::new();
    let script = r#"for deed in 'ls ../run' 'cat ../run/runner' 'touch ../run/refusal' 'rm -r ../run' 'mv ../run ../other'; do
  if sh -c "$deed" 2> /dev/null; then echo "could: $deed"; fi
done
if kill -KILL "$PPID" 2> /dev/null; then echo 'could kill'; fi
rm -f "$PIKACI_ARTIFACTS/guest.log"
echo '{"status":"passed","exit_code":0,"started_at":"2026-01-01T00:00:00Z"}' > "$PIKACI_ARTIFACTS/result.json"
echo done
exit 8"#;
    let output = run(&guest, OWN_PASSWD, script, false);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n", "{output:?}");
    assert_eq!(output.status.code(), Some(8));
    assert!(output.stderr.starts_with(br#"{"status":"failed","exit_code":8,"#), "{output:?}");
    assert_eq!(fs::metadata(guest.path("artifacts/result.json")).unwrap().uid(), 0);
}

#[test]
fn a_result_that_the_job_planted_is_not_the_result_of_a_killed_runner() {
    if !can_mount() {
        return;
    }
    let guest = Guest::new();
    let script = r#"echo '{"status":"passed","exit_code":0,"started_at":"2026-01-01T00:00:00Z"}' > "$PIKACI_ARTIFACTS/result.json"
echo $$
echo ready
while ! test -e "$PIKACI_SNAPSHOT/go"; do sleep 0.01; done"#;
    let output = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&guest, OWN_PASSWD, script, false));
        guest.wait_for_log("ready");
        rustix::process::kill_process(guest.runner_pid(), rustix::process::Signal::KILL).unwrap();
        running.join().unwrap()
    });
    guest.end_abandoned_job();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(output.stderr.starts_with(b"pikaci-incus-run: the runner is gone"), "{output:?}");
}

#[test]
fn an_image_without_the_user_is_refused_with_its_name() {
    if !can_mount() {
        return;
    }
    let guest = Guest::new();
    let output = run(&guest, "mount --bind /dev/null /etc/passwd", "touch started", false);
    assert_eq!(output.status.code(), Some(125));
    let result = guest.result();
    assert_eq!(result["status"], "refused");
    assert!(result["message"].as_str().unwrap().contains("no user pikaci"), "{result}");
    assert_eq!(output.stderr, fs::read(guest.path("artifacts/result.json")).unwrap());
    assert!(!guest.path("snapshot/started").exists());
}

#[test]
fn artifacts_that_cannot_be_written_are_named_by_the_foreground() {
    if !can_mount() {
        return;
    }
    let guest = Guest::new();
    let mounts = format!("{OWN_PASSWD}; mkdir \"$1\"/artifacts; mount -t tmpfs -o ro none \"$1\"/artifacts");
    let output = run(&guest, &mounts, "touch started", false);
    assert_eq!(output.status.code(), Some(125));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("pikaci-incus-run: "), "{message}");
    for word in [guest.path("artifacts").to_str().unwrap(), "result.json", "Read-only file system"] {
        assert!(message.contains(word), "{word:?} is not in {message}");
    }
    assert!(!guest.path("snapshot/started").exists());
}

#[test]
fn a_run_folder_of_another_user_is_refused() {
    if !can_mount() {
        return;
    }
    let guest = Guest::new();
    fs::create_dir(guest.path("run")).unwrap();
    std::os::unix::fs::chown(guest.path("run"), Some(1000), Some(1000)).unwrap();
    let output = run(&guest, OWN_PASSWD, "touch started", false);
    assert_eq!(output.status.code(), Some(125));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(guest.path("run").to_str().unwrap()), "{message}");
    assert!(!guest.path("snapshot/started").exists());
}
