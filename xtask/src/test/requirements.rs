//! What the tests need beside Rust: programs from Debian's and Ubuntu's packages, and two components of the toolchain.
//!
//! Invariant: a machine that has everything is not touched, and needs no network.

mod incus;
pub(super) mod python;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A program that tests run, a file by its whole path or a group as `group:NAME`, and the package that brings it.
struct Requirement {
    program: &'static str,
    package: &'static str,
}

const REQUIREMENTS: [Requirement; 14] = [
    Requirement { program: "git", package: "git" },
    // What git reaches the forge over SSH with.
    Requirement { program: "ssh", package: "openssh-client" },
    // The sandbox of the local executor.
    Requirement { program: "bwrap", package: "bubblewrap" },
    // The virtual machine: what runs it, what is in it, and what its virtiofsd is built with.
    Requirement { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Requirement { program: "busybox", package: "busybox-static" },
    Requirement { program: "cpio", package: "cpio" },
    Requirement { program: "/usr/include/cap-ng.h", package: "libcap-ng-dev" },
    Requirement { program: "/usr/include/seccomp.h", package: "libseccomp-dev" },
    // What evaluates and builds Nix expressions, and what reads the units that they make.
    Requirement { program: "nix", package: "nix-bin" },
    // As root, Nix builds as the users of this group; another installation than Debian's made it long ago.
    Requirement { program: "group:nixbld", package: "nix-setup-systemd" },
    // What Incus serves its bridges' addresses with; its package only recommends it.
    Requirement { program: "dnsmasq", package: "dnsmasq-base" },
    Requirement { program: "systemd-analyze", package: "systemd" },
    // What makes the environment of the programs in Python.
    Requirement { program: "python3", package: "python3-venv" },
    // What the pages are looked at with.
    Requirement { program: "chromium", package: "chromium" },
];

/// The first git with `merge-tree --write-tree`.
const GIT_MIN: (u32, u32) = (2, 38);
const ATTEMPTS: u32 = 3;

/// Installs the missing packages when it may; otherwise names the command that would.
pub(super) fn install_missing() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let packages = missing_packages(|program| match program.strip_prefix("group:") {
        Some(group) => has_group(&groups, group),
        // A folder joined with a whole path is that path.
        None => folders.iter().any(|folder| folder.join(program).is_file()),
    });
    if !packages.is_empty() {
        install(&packages)?;
    }
    incus::install_missing()?;
    python::install_missing()?;
    check_git()?;
    for component in ["rustfmt", "clippy"] {
        add_component(component)?;
    }
    Ok(())
}

fn missing_packages(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let missing = REQUIREMENTS.iter().filter(|requirement| !is_there(requirement.program));
    missing.map(|requirement| requirement.package).collect()
}

/// Whether a group stands in the text of `/etc/group`.
fn has_group(groups: &str, name: &str) -> bool {
    groups.lines().any(|line| line.split(':').next() == Some(name))
}

fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("sudo apt-get update && sudo apt-get install {}", packages.join(" "));
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("missing: {}; install them with this system's package manager", packages.join(", "));
    }
    let Some(prefix) = root_prefix() else {
        bail!("missing: {}; run `{by_hand}`, then this again", packages.join(", "));
    };
    eprintln!("installing {}", packages.join(", "));
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    for attempt in 1..=ATTEMPTS {
        if apt(prefix, &["update", "--quiet"])? && apt(prefix, &install)? {
            return Ok(());
        }
        eprintln!("attempt {attempt} of {ATTEMPTS} failed");
    }
    bail!("cannot install {}; run `{by_hand}` and read what it says", packages.join(", "))
}

/// The words before a command that make root run it, when that takes no password.
pub(super) fn root_prefix() -> Option<&'static [&'static str]> {
    if succeeds("id", &["-u"], "0") {
        Some(&[])
    } else if succeeds("sudo", &["-n", "id", "-u"], "0") {
        Some(&["sudo", "-n"])
    } else {
        None
    }
}

/// Runs `apt-get` without questions. Whether it succeeded.
pub(super) fn apt(prefix: &[&str], arguments: &[&str]) -> Result<bool> {
    let options =
        ["-o", "Acquire::Retries=3", "-o", "Acquire::http::Timeout=30", "-o", "DPkg::Lock::Timeout=120"];
    let words = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], &options, arguments].concat();
    let status = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run `{}`", words.join(" ")))?;
    Ok(status.success())
}

/// Whether a command ends well and prints exactly this.
fn succeeds(program: &str, arguments: &[&str], expected: &str) -> bool {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success() && output.stdout.trim_ascii() == expected.as_bytes())
}

fn check_git() -> Result<()> {
    let output = Command::new("git").arg("--version").output().context("cannot run git")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match git_version(&text) {
        Some(version) if version >= GIT_MIN => Ok(()),
        _ => bail!(
            "{}: git {}.{} or newer is needed to merge; on Ubuntu 22.04: `sudo add-apt-repository ppa:git-core/ppa && \
             sudo apt-get install git`",
            text.trim(),
            GIT_MIN.0,
            GIT_MIN.1
        ),
    }
}

/// Reads major and minor of `git version 2.39.5 (…)`.
fn git_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("git version ")?.split(['.', ' ', '\n']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A minimal installation of rustup has neither `cargo fmt` nor `cargo clippy`.
fn add_component(component: &str) -> Result<()> {
    let subcommand = component.trim_start_matches("rust");
    let is_there = crate::cargo::command(&[subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if is_there {
        return Ok(());
    }
    let added = Command::new("rustup").args(["component", "add", component]).status();
    if !added.is_ok_and(|status| status.success()) {
        bail!("`cargo {subcommand}` is missing; run `rustup component add {component}`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        assert_eq!(missing_packages(|_| true), Vec::<&str>::new());
        assert_eq!(missing_packages(|program| program != "bwrap"), ["bubblewrap"]);
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nnixbld:x:992:nixbld1,nixbld2\n";
        assert!(has_group(groups, "nixbld") && has_group(groups, "root"));
        assert!(!has_group(groups, "nix") && !has_group(groups, "nixbld1"));
    }

    #[test]
    fn the_version_of_git_is_read_whatever_follows_it() {
        assert_eq!(git_version("git version 2.39.5\n"), Some((2, 39)));
        assert_eq!(git_version("git version 2.50.1 (Apple Git-155)"), Some((2, 50)));
        assert_eq!(git_version("git version 2.47.0-rc1"), Some((2, 47)));
        assert_eq!(git_version("no git"), None);
        assert!((2, 34) < GIT_MIN && (3, 0) > GIT_MIN);
    }

    #[test]
    fn what_a_command_prints_decides_and_a_missing_one_does_not_succeed() {
        assert!(succeeds("printf", &["0\n"], "0"));
        assert!(!succeeds("printf", &["1000"], "0"));
        assert!(!succeeds("no-such-program", &[], ""));
    }
}
