//! The guest's half of the contract under a real kernel: the static guest runner in a virtual machine, with shares that
//! come over virtiofs as Incus brings them. One boot serves all tests here.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;
use e2e::{Ended, GuestCommand, GuestEnd, Share, VirtualMachine};
use pikaci::guest::{GuestStatus, SENTINEL_NAME, SNAPSHOT_PATH, USER_ID};
use pikaci_incus_run::{EXIT_REFUSED, EXIT_TIMED_OUT};

const SNAPSHOT_DIGEST: &str = "1f0c2a";
const DEPS_DIGEST: &str = "9b77d3";
const DEPS_PATH: &str = "/staged/linux-rust/workspace-deps";
/// A folder of the guest that nothing is mounted on.
const ABSENT_PATH: &str = "/staged/linux-rust";

/// Everything that a log could mangle: no text, no line end, and both of them.
const EXACT: &[u8] = b"\x00\xff\xfe tab\t\r\nno line end \xf0\x9f";
const LARGE_BYTES: u64 = 50_000_000;

/// The longest that a job may outlive its deadline by the guest's clock: its grace, and a busy host.
const OVERDUE_MAX: Duration = Duration::from_secs(20);

/// The jobs of the one boot. A name is asked for by the test that is about it.
fn commands() -> Vec<GuestCommand> {
    let job = |name, command| GuestCommand {
        name,
        command,
        timeout_s: 60,
        is_root: false,
        arguments: sentinels(SNAPSHOT_DIGEST),
    };
    let root = |name, command| GuestCommand { is_root: true, ..job(name, command) };
    let mut absent = job("absent-share", "echo started");
    absent.arguments.extend(["--sentinel".to_owned(), format!("{ABSENT_PATH}={DEPS_DIGEST}")]);
    let mut stubborn =
        job("stubborn", "trap 'echo told to stop' TERM; echo ready; while :; do sleep 0.1; done");
    stubborn.timeout_s = 2;
    stubborn.arguments.extend(["--grace-ms".to_owned(), "500".to_owned()]);
    vec![
        job("passing", "pwd; cat /staged/linux-rust/workspace-deps/note; echo to standard error >&2"),
        job("failing", "echo before; exit 7; echo after"),
        job(
            "as-pikaci",
            "id -u; id -g; touch /artifacts/a /cargo-home/b /cargo-target/c && ! touch /etc/d && echo $HOME",
        ),
        root("as-root", "id -u; touch /etc/by-root && echo $HOME"),
        GuestCommand {
            timeout_s: 2,
            ..job(
                "obedient",
                "trap 'echo told to stop; exit 0' TERM; echo ready; while :; do sleep 0.1; done",
            )
        },
        stubborn,
        root(
            "writing",
            "for share in /workspace/snapshot /staged/linux-rust/workspace-deps; do cd $share
             grep \"$share virtiofs ro,\" /proc/mounts
             echo x >new; echo x >note; rm note; mv note other; chmod 777 note; mkdir folder; done
             exit 3",
        ),
        GuestCommand { arguments: sentinels("000000"), ..job("other-digest", "echo started") },
        absent,
        job("exact", "cat exact"),
        job("modes", "./tool.sh && test ! -x note && readlink link && cat link && stat -c %a tool.sh note"),
        job("large", "sha256sum large"),
        job("background", "setsid sleep 1000 & sleep 1000 & echo started"),
        // The last one: the mounts stay writable.
        root(
            "remounting",
            "mount -o remount,rw /workspace/snapshot || exit 1
             grep '/workspace/snapshot virtiofs rw,' /proc/mounts || exit 2
             echo x >new; echo x >note; rm note; chmod 777 note; exit 3",
        ),
    ]
}

fn sentinels(snapshot: &str) -> Vec<String> {
    let [snapshot, deps] = [(SNAPSHOT_PATH, snapshot), (DEPS_PATH, DEPS_DIGEST)]
        .map(|(share, digest)| ["--sentinel".to_owned(), format!("{share}={digest}")]);
    [snapshot, deps].concat()
}

/// What came of the boot, and what the host knows about the shares.
struct Booted {
    ended: Ended,
    /// As `sha256sum` of the host prints it.
    large_digest: String,
    /// The files of both shares before and after.
    listings: [String; 2],
}

/// What the job of this name left. Boots the machine if no test has done so yet.
#[track_caller]
fn end_of(name: &str) -> &'static GuestEnd {
    booted().ended.of(name)
}

#[track_caller]
fn booted() -> &'static Booted {
    // An error is kept as well: a machine that does not boot costs one deadline, not one a test.
    static BOOTED: OnceLock<Result<Booted>> = OnceLock::new();
    match BOOTED.get_or_init(boot) {
        Ok(booted) => booted,
        Err(error) => panic!("{error:#}"),
    }
}

fn boot() -> Result<Booted> {
    let folder = tempfile::tempdir()?;
    let [snapshot, deps] = ["snapshot", "deps"].map(|name| folder.path().join(name));
    fill_share(&snapshot, SNAPSHOT_DIGEST)?;
    fill_share(&deps, DEPS_DIGEST)?;
    fs::write(snapshot.join("exact"), EXACT)?;
    fs::write(snapshot.join("tool.sh"), "#!/bin/sh\necho the tool ran\n")?;
    symlink("note", snapshot.join("link"))?;
    let mut noise = File::open("/dev/urandom")?.take(LARGE_BYTES);
    io::copy(&mut noise, &mut File::create(snapshot.join("large"))?)?;
    for (name, mode) in [("exact", 0o644), ("large", 0o644), ("tool.sh", 0o755)] {
        fs::set_permissions(snapshot.join(name), Permissions::from_mode(mode))?;
    }
    let sum = Command::new("sha256sum").arg("large").current_dir(&snapshot).output()?;
    let machine = VirtualMachine {
        shares: vec![
            Share { tag: "snapshot", folder: snapshot, mounted_at: SNAPSHOT_PATH },
            Share { tag: "deps", folder: deps, mounted_at: DEPS_PATH },
        ],
        commands: commands(),
    };
    let before = listing(folder.path())?;
    let ended = machine.run()?;
    let after = listing(folder.path())?;
    Ok(Booted { ended, large_digest: String::from_utf8(sum.stdout)?, listings: [before, after] })
}

/// Anybody may read it, whatever the umask: the guest's user is nobody on the host.
fn fill_share(folder: &Path, digest: &str) -> io::Result<()> {
    fs::create_dir(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    for (name, text) in [(SENTINEL_NAME, digest.to_owned()), ("note", format!("note of {digest}\n"))] {
        fs::write(folder.join(name), text)?;
        fs::set_permissions(folder.join(name), Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Names, kinds, modes, sizes and times of change of all files: the last is the kernel's own, and no program can set it.
fn listing(folder: &Path) -> Result<String> {
    let found =
        Command::new("find").args([".", "-printf", "%p %y %m %s %C@ %l\n"]).current_dir(folder).output()?;
    Ok(String::from_utf8(found.stdout)?)
}

#[test]
fn a_guest_runs_a_job_from_its_shares_and_leaves_log_and_result() {
    let end = end_of("passing");
    assert_eq!(end.outcome(), (GuestStatus::Passed, Some(0), 0), "{end:?}");
    let expected = format!("{SNAPSHOT_PATH}\nnote of {DEPS_DIGEST}\nto standard error\n");
    assert_eq!(end.text(), expected);
    // What the host streams is what it finds in the log.
    assert_eq!(String::from_utf8_lossy(&end.output), expected);
    assert_eq!((end.errors.as_str(), &end.result.message), ("", &None));
}

#[test]
fn a_guest_reports_the_exit_code_of_a_job_that_failed() {
    let end = end_of("failing");
    assert_eq!(end.outcome(), (GuestStatus::Failed, Some(7), 7), "{end:?}");
    assert_eq!(end.text(), "before\n");
}

#[test]
fn a_job_in_a_guest_is_the_user_pikaci_and_can_write_where_the_contract_says() {
    let end = end_of("as-pikaci");
    assert_eq!(end.code, 0, "{end:?}");
    let lines: Vec<String> = end.text().lines().map(str::to_owned).collect();
    assert_eq!(lines[..2], [USER_ID.to_string(), USER_ID.to_string()]);
    assert!(lines[2].contains("Permission denied"), "{lines:?}");
    assert_eq!(lines[3..], ["/home/pikaci"]);
}

#[test]
fn a_job_in_a_guest_is_root_when_it_asks_for_that() {
    let end = end_of("as-root");
    assert_eq!((end.code, end.text().as_str()), (0, "0\n/root\n"), "{end:?}");
}

#[test]
fn a_job_in_a_guest_is_told_to_stop_at_its_deadline() {
    let end = end_of("obedient");
    assert_eq!(end.outcome(), (GuestStatus::TimedOut, None, EXIT_TIMED_OUT), "{end:?}");
    // Between the two, the shell has said that what it waited for was told to stop as well.
    assert!(end.text().starts_with("ready\n") && end.text().ends_with("\ntold to stop\n"), "{end:?}");
}

#[test]
fn a_job_in_a_guest_that_does_not_listen_is_killed_after_its_grace() {
    let end = end_of("stubborn");
    assert_eq!(end.result.status, GuestStatus::TimedOut, "{end:?}");
    assert!(end.text().contains("\ntold to stop\n"), "{end:?}");
    let took = end.result.finished_at.duration_since(end.result.started_at).unsigned_abs();
    let deadline_and_grace = Duration::from_millis(2500);
    assert!(took >= deadline_and_grace && took < deadline_and_grace + OVERDUE_MAX, "{took:?}");
}

#[test]
fn root_of_a_guest_cannot_write_to_a_share() {
    let end = end_of("writing");
    assert_eq!(end.code, 3, "{end:?}");
    assert_eq!(end.text().matches(" virtiofs ro,").count(), 2, "{}", end.text());
    // Six tries in each of two shares.
    assert_eq!(end.text().matches("Read-only file system").count(), 12, "{}", end.text());
}

#[test]
fn the_host_refuses_writes_of_a_guest_that_has_mounted_its_share_writable() {
    let end = end_of("remounting");
    assert_eq!(end.code, 3, "the share was mounted writable: {}", end.text());
    assert_eq!(end.text().matches("Read-only file system").count(), 4, "{}", end.text());
    let [before, after] = &booted().listings;
    assert_eq!(before, after);
    assert!(before.contains("./snapshot/tool.sh f 755"), "{before}");
}

#[test]
fn a_guest_refuses_a_share_that_is_not_the_one_that_was_meant() {
    let end = end_of("other-digest");
    assert_refused(end, &[SNAPSHOT_PATH, SNAPSHOT_DIGEST, "000000"]);
}

#[test]
fn a_guest_refuses_to_start_when_a_share_is_not_mounted() {
    let end = end_of("absent-share");
    assert_refused(end, &[ABSENT_PATH, "not mounted", SENTINEL_NAME]);
}

#[track_caller]
fn assert_refused(end: &GuestEnd, words: &[&str]) {
    assert_eq!(end.outcome(), (GuestStatus::Refused, None, EXIT_REFUSED), "{end:?}");
    assert_eq!((&end.log, end.output.as_slice()), (&None, &b""[..]), "nothing was started");
    let message = end.result.message.as_deref().unwrap_or_default();
    for word in words {
        assert!(message.contains(word) && end.errors.contains(word), "{word} in {end:?}");
    }
}

#[test]
fn the_bytes_of_a_share_reach_the_log_as_they_are() {
    let end = end_of("exact");
    assert_eq!(end.log.as_deref(), Some(EXACT));
    assert_eq!(end.output, EXACT);
}

#[test]
fn modes_and_links_of_a_share_are_the_same_in_the_guest() {
    let end = end_of("modes");
    let note = format!("note of {SNAPSHOT_DIGEST}");
    let expected = format!("the tool ran\nnote\n{note}\n755\n644\n");
    assert_eq!((end.code, end.text()), (0, expected));
}

#[test]
fn a_large_file_of_a_share_is_the_same_in_the_guest() {
    let end = end_of("large");
    let digest = &booted().large_digest;
    assert!(digest.len() > 64, "{digest:?}");
    assert_eq!((end.code, &end.text()), (0, digest));
}

#[test]
fn nothing_that_a_job_started_lives_on_in_the_guest() {
    let end = end_of("background");
    assert_eq!((end.code, end.text().as_str()), (0, "started\n"), "{end:?}");
    assert_eq!(end.sleepers, "");
}
