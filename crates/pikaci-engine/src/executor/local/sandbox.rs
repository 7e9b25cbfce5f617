//! What bubblewrap is told: the contract's paths, the host's programs read-only, and nothing else.
//!
//! Invariants: no home folder, no `/var`, no `/run`, no credential of the host is visible; nothing but the job's own
//! folders can be written. Tools that live in the user's home are shown one by one, never the home.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pikaci::guest::{
    ARTIFACTS_PATH, CARGO_HOME_PATH, CARGO_TARGET_PATH, RUN_BINARY, SNAPSHOT_PATH, USER, USER_ID,
};

use super::{Folders, LocalConfig, sentinel};
use crate::executor::Attempt;

/// The home of the job's user.
pub(super) const HOME: &str = "/home/pikaci";

/// Programs and libraries.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt"];
/// Nix' store: a job sees the paths that its outputs refer to, and all of it only where the host's own programs are in it.
const STORE: &str = "/nix/store";
/// What programs read of `/etc`. Never accounts' passwords, keys, or anybody's configuration of credentials.
const CONFIGURATION: [&str; 21] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/hosts",
    "/etc/java-11-openjdk",
    "/etc/java-17-openjdk",
    "/etc/java-21-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];
/// What tools below a home need beside the folder that is on the path. `.cargo` itself holds credentials.
const TOOL_ROOTS: [&str; 9] =
    [".rustup", ".pyenv", ".nvm", ".volta", ".local/bin", ".local/share/mise", ".asdf", "go/bin", ".sdkman"];

pub(super) struct Sandbox<'a> {
    pub(super) config: &'a LocalConfig,
    pub(super) attempt: &'a Attempt,
    pub(super) folders: &'a Folders,
}

impl Sandbox<'_> {
    /// Writes the account files that the sandbox sees instead of the host's.
    pub(super) fn write_accounts(&self) -> io::Result<()> {
        let passwd = format!(
            "root:x:0:0:root:/root:/bin/sh\n{USER}:x:{USER_ID}:{USER_ID}::{HOME}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
        );
        let group = format!("root:x:0:\n{USER}:x:{USER_ID}:\nnogroup:x:65534:\n");
        fs::write(self.folders.accounts.join("passwd"), passwd)?;
        fs::write(self.folders.accounts.join("group"), group)
    }

    /// All arguments, up to and with the runner and its first ones.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Arguments(Vec::new());
        // All: user, ipc, pid, net, uts, cgroup. --die-with-parent acts when the thread ends that made the child, which
        // is one of the runtime's own; it holds where a job froze its runner, and so cut the lifeline. Not --new-session:
        // the group must reach the sandbox's init for a kill from outside.
        arguments.add(&["--unshare-all", "--unshare-user", "--die-with-parent", "--hostname", "pikaci"]);
        if self.attempt.job.network {
            arguments.add(&["--share-net"]);
        }
        let user = if self.attempt.job.run_as_root { 0 } else { USER_ID }.to_string();
        // Root keeps its capabilities in bubblewrap unless told otherwise, and could make the host's files writable again.
        arguments.add(&["--uid", &user, "--gid", &user, "--cap-drop", "ALL"]);
        for path in SYSTEM {
            arguments.system(Path::new(path));
        }
        let has_store = needs_store(self.config);
        if has_store {
            arguments.system(Path::new(STORE));
        }
        arguments.add(&[
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run", "--tmpfs", "/var/tmp",
        ]);
        // The session is the caller's: its terminal must not be typed into (CVE-2017-5226).
        arguments.add(&["--dev-bind", "/dev/null", "/dev/tty"]);
        for path in CONFIGURATION {
            arguments.read_only(Path::new(path), Path::new(path));
        }
        if self.attempt.job.network {
            // Usually a link to somewhere below /run, which is hidden.
            let resolver = fs::canonicalize("/etc/resolv.conf").unwrap_or_else(|_| "/etc/resolv.conf".into());
            arguments.read_only(&resolver, Path::new("/etc/resolv.conf"));
        }
        arguments.read_only(&self.folders.accounts.join("passwd"), Path::new("/etc/passwd"));
        arguments.read_only(&self.folders.accounts.join("group"), Path::new("/etc/group"));
        arguments.add(&["--tmpfs", "/home", "--dir", HOME, "--dir", "/root"]);
        for tools in tool_folders(self.config) {
            arguments.read_only(&tools, &tools);
        }
        arguments.read_only(&self.config.runner, Path::new(RUN_BINARY));
        arguments.read_only(&self.attempt.snapshot_dir, Path::new(SNAPSHOT_PATH));
        for share in &self.attempt.shares {
            // Where the sandbox has the host's store as it is, it has these.
            if !(has_store && Path::new(&share.path).starts_with(STORE)) {
                arguments.read_only(&share.source, Path::new(&share.path));
            }
        }
        arguments.writable(&self.folders.artifacts, ARTIFACTS_PATH);
        arguments.writable(&self.folders.cargo_home, CARGO_HOME_PATH);
        arguments.writable(&self.folders.cargo_target, CARGO_TARGET_PATH);
        arguments.add(&["--chdir", SNAPSHOT_PATH, "--", RUN_BINARY]);
        arguments.0.extend(self.config.runner_arguments.iter().cloned());
        arguments.add(&["run", "--sentinel"]);
        arguments.0.push(sentinel(Path::new(SNAPSHOT_PATH), self.attempt));
        for share in &self.attempt.shares {
            arguments.0.extend(share.proof_arguments().into_iter().map(OsString::from));
        }
        arguments.0
    }
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn read_only(&mut self, from: &Path, to: &Path) {
        self.0.extend(["--ro-bind-try".into(), from.as_os_str().to_owned(), to.as_os_str().to_owned()]);
    }

    fn writable(&mut self, from: &Path, to: &str) {
        self.0.extend(["--bind".into(), from.as_os_str().to_owned(), to.into()]);
    }

    /// A system folder as it is: on merged systems `/bin` is a link to `usr/bin`.
    fn system(&mut self, path: &Path) {
        match fs::read_link(path) {
            Ok(target) => {
                self.0.extend(["--symlink".into(), target.into_os_string(), path.as_os_str().to_owned()]);
            }
            Err(_) => self.read_only(path, path),
        }
    }
}

fn needs_store(config: &LocalConfig) -> bool {
    let is_in_store = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| path.starts_with(STORE));
    config.path_folders.iter().chain([&config.runner, &PathBuf::from("/bin/sh")]).any(is_in_store)
}

/// The folders below the user's home that tools need, when something there is on the path.
fn tool_folders(config: &LocalConfig) -> Vec<PathBuf> {
    let Some(home) = &config.home else { return Vec::new() };
    let on_path: Vec<PathBuf> = std::env::split_paths(&config.path)
        .filter(|folder| folder.starts_with(home) && folder != home)
        .collect();
    if on_path.is_empty() {
        return Vec::new();
    }
    let roots = TOOL_ROOTS.iter().map(|root| home.join(root)).filter(|root| root.is_dir());
    let mut folders: Vec<PathBuf> =
        on_path.into_iter().filter(|folder| folder.is_dir()).chain(roots).collect();
    folders.sort();
    folders.dedup();
    folders
}

/// Where rustup keeps its toolchains, if it is below the user's home.
pub(super) fn rustup_home(config: &LocalConfig) -> Option<PathBuf> {
    config.home.as_ref().map(|home| home.join(".rustup")).filter(|folder| folder.is_dir())
}
