//! Jobs that wait for the guest's address, in network namespaces that have none at first.
//!
//! Only root can make one. Where these tests cannot be run they say so.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::guest::{Guest, finish, program, signal, wait_until};

/// Gives the namespace a network that leads further, as the set-up of an image does: the default route last.
const HAVE_NETWORK: &str = "ip link add one type veth peer name two && ip link set two up && ip link set one up && \
                            ip addr add 10.9.8.7/24 dev one && ip route add default via 10.9.8.1";

/// Whether this process may make a network. Says so when not.
fn can_have_network() -> bool {
    let made = Command::new("unshare").args(["--net", "sh", "-c", HAVE_NETWORK]).output();
    let can = made.is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("not run: this needs root, a network namespace, and `ip` with veth");
    }
    can
}

/// The runner in a network namespace of its own, where a script goes on beside it.
fn runner(guest: &Guest, wait_ms: &str, beside: &str, script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &format!("( {beside} ) & exec \"$@\""), "sh"]).arg(program());
    command.args(["run", "--same-user", "--network-wait-ms", wait_ms, "--artifacts"]);
    command.arg(guest.path("artifacts"));
    guest.set_job(&mut command, script);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_job_starts_when_the_guest_has_an_address_and_its_route() {
    if !can_have_network() {
        return;
    }
    let guest = Guest::new();
    let artifacts = guest.path("artifacts");
    let beside =
        format!("until test -e {}; do sleep 0.01; done; sleep 0.1; {HAVE_NETWORK}", artifacts.display());
    let script = "ip route show default; ip -o addr show dev one | grep -o 'inet [0-9.]*'";
    let output = runner(&guest, "20000", &beside, script).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(guest.log(), "default via 10.9.8.1 dev one \ninet 10.9.8.7\n");
}

#[test]
fn a_network_that_leads_no_further_is_one() {
    if !can_have_network() {
        return;
    }
    let guest = Guest::new();
    let beside = format!("{HAVE_NETWORK} && ip route del default");
    let start = Instant::now();
    let output = runner(&guest, "20000", &beside, "echo started").output().unwrap();
    assert_eq!((output.status.code(), guest.log().as_str()), (Some(0), "started\n"));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_guest_without_an_address_is_refused_and_its_command_not_blamed() {
    if !can_have_network() {
        return;
    }
    let guest = Guest::new();
    let output = runner(&guest, "150", "ip link set lo up", "echo started").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(guest.result()["status"], "refused");
    let message = guest.result()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("no interface had an address within 150 ms"), "{message}");
}

#[test]
fn whoever_waits_for_a_network_can_be_stopped() {
    if !can_have_network() {
        return;
    }
    let guest = Guest::new();
    let child = runner(&guest, "600000", "true", "echo started").spawn().unwrap();
    wait_until("start of the runner", || guest.path("artifacts").exists());
    signal(&child, Signal::TERM);
    assert_eq!(finish(child), 130);
    assert_eq!(guest.result()["status"], "cancelled");
}
