//! What every image has: the guest runner, an init that does next to nothing, and the places of the contract.
//!
//! Incus mounts nothing on `/run` of a container, and the init neither, so the runner's place below it is a link of the
//! image. Busybox answers to the name it is called by: as `init` it reaps, and halts on the SIGPWR that Incus sends.

use pikaci::guest::{
    ARTIFACTS_PATH, CARGO_HOME_PATH, CARGO_TARGET_PATH, RUN_BINARY, SNAPSHOT_PATH, STAGED_PATH, USER, USER_ID,
};

use super::program::Program;
use super::tree::Tree;

/// Ours, in an image.
pub(super) const FOLDER: &str = "usr/lib/pikaci";
const RUNNER: &str = "usr/lib/pikaci/pikaci-incus-run";
/// Absolute: links and scripts name it.
pub(super) const BUSYBOX: &str = "/usr/lib/pikaci/busybox";

/// The NixOS image has these under the same names.
const PREPARED: [&str; 2] = ["linux-rust/workspace-deps", "linux-rust/workspace-build"];

/// An inittab without a line would start a login on every terminal.
const INITTAB: &str = "\
# Jobs come from outside; nothing stays here but what asks for the network's address.
::sysinit:/usr/lib/pikaci/start
::once:/usr/lib/pikaci/network
";
const START: &str = include_str!("start.sh");
const NETWORK: &str = include_str!("network.sh");
const LEASE: &str = include_str!("lease.sh");
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
const RESOLV_CONF: &str = "# Written when the network is up.\n";
const HOSTNAME: &str = "guest\n";

/// Adds what every image has. `init` is the path of the first program.
pub(super) fn add(tree: &mut Tree, init: &str, runner: &Program, busybox: &Program) {
    tree.file(RUNNER, 0o755, runner.content.clone());
    tree.link(relative(RUN_BINARY), &format!("/{RUNNER}"));
    tree.file(relative(BUSYBOX), 0o755, busybox.content.clone());
    tree.link(init, BUSYBOX);
    tree.file("etc/inittab", 0o644, INITTAB);
    for (name, script) in [("start", START), ("network", NETWORK), ("lease", LEASE)] {
        tree.file(&format!("{FOLDER}/{name}"), 0o755, script);
    }
    tree.file("etc/hosts", 0o644, HOSTS);
    tree.file("etc/hostname", 0o644, HOSTNAME);
    tree.file("etc/resolv.conf", 0o644, RESOLV_CONF);
    for path in [SNAPSHOT_PATH, ARTIFACTS_PATH, CARGO_HOME_PATH, CARGO_TARGET_PATH] {
        tree.folder(relative(path), 0o755);
    }
    for name in PREPARED {
        tree.folder(&format!("{}/{name}", relative(STAGED_PATH)), 0o755);
    }
    tree.home(&format!("home/{USER}"));
    for name in ["dev", "proc", "sys"] {
        tree.folder(name, 0o755);
    }
    tree.folder("root", 0o700);
    for name in ["run/lock", "tmp", "var/tmp"] {
        tree.folder(name, 0o1777);
    }
}

/// The unprivileged user's lines in the files that know users: passwd(5), group(5), shadow(5), gshadow(5).
pub(super) fn user_line(path: &str) -> Option<String> {
    match path {
        "etc/passwd" => Some(format!("{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/bin/sh\n")),
        "etc/group" => Some(format!("{USER}:x:{USER_ID}:\n")),
        // Nobody logs in.
        "etc/shadow" => Some(format!("{USER}:*:::::::\n")),
        "etc/gshadow" => Some(format!("{USER}:!::\n")),
        _ => None,
    }
}

/// A path of the contract as a tree has it.
pub(super) fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}
