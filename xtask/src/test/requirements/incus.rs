//! Incus and what images are made with.
//!
//! Debian 12 has Incus in its backports alone. The daemon that the package may start keeps to `/var/lib/incus`, where
//! nothing of ours ever looks; the tests have daemons of their own.
//!
//! Invariant: as for all requirements, a machine that has everything is not touched.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use incus_testbed::Programs;

use super::{apt, install, root_prefix};

/// The first is all that containers need; where a distribution has not split it off, the second brings virtual machines too.
const PACKAGES: [&str; 2] = ["incus-base", "incus"];
const BACKPORTS_FILE: &str = "/etc/apt/sources.list.d/pika-backports.sources";
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const BY_HAND: &str = "install Incus 6.0 or newer (https://linuxcontainers.org/incus/docs/main/installing/), then run this again";

/// The files that give root the ids of containers' users. Without them containers do not start.
const ID_FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
const IDS_FOR_ROOT: &str = "root:1000000:1000000000";

/// Installs Incus, and the programs that make images.
pub(super) fn install_missing() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_static = |program: &Path| File::open(program).is_ok_and(is_static);
    let has_busybox = std::env::split_paths(&path).any(|folder| is_static(&folder.join("busybox")));
    let has_mmdebstrap = std::env::split_paths(&path).any(|folder| folder.join("mmdebstrap").is_file());
    let wanted = [(has_busybox, "busybox-static"), (has_mmdebstrap, "mmdebstrap")];
    let packages: Vec<&str> =
        wanted.iter().filter(|(is_there, _)| !is_there).map(|(_, package)| *package).collect();
    if !packages.is_empty() {
        install(&packages)?;
    }
    if Programs::find().is_err() {
        install_incus()?;
    }
    for file in ID_FILES {
        if !fs::read_to_string(file).is_ok_and(|text| has_ids_for_root(&text)) {
            add_ids(file)?;
        }
    }
    Ok(())
}

fn install_incus() -> Result<()> {
    let Some(prefix) = root_prefix().filter(|_| Path::new("/usr/bin/apt-get").exists()) else {
        bail!("Incus is missing, whose daemon tests run; {BY_HAND}");
    };
    // Without it even a package that there is has no candidate.
    apt(prefix, &["update", "--quiet"])?;
    let package = match candidate()? {
        Some(package) => package,
        None => {
            add_backports(prefix)?;
            apt(prefix, &["update", "--quiet"])?;
            candidate()?.with_context(|| format!("apt has no package of Incus; {BY_HAND}"))?
        }
    };
    install(&[package])?;
    Programs::find().with_context(|| format!("{package} is installed, and yet"))?;
    Ok(())
}

/// The package that apt would install.
fn candidate() -> Result<Option<&'static str>> {
    for package in PACKAGES {
        let policy = output(Command::new("apt-cache").args(["policy", package]))?;
        if has_candidate(&policy) {
            return Ok(Some(package));
        }
    }
    Ok(None)
}

/// Whether `apt-cache policy` tells of a version to install. It prints nothing of a package that it has never heard of.
fn has_candidate(policy: &str) -> bool {
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    candidate.is_some_and(|candidate| candidate != "(none)")
}

/// Adds Debian's backports, from the mirror that the machine has Debian from.
fn add_backports(prefix: &[&str]) -> Result<()> {
    let system = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let field = |name: &str| {
        system.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim_matches('"')
    };
    let suite = field("VERSION_CODENAME=");
    if field("ID=") != "debian" || suite.is_empty() {
        bail!("apt has no package of Incus; {BY_HAND}");
    }
    let format = "$(RELEASE)|$(COMPONENT)|$(REPO_URI)|$(SIGNED_BY)";
    let targets =
        output(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    let source =
        backports_source(&targets, suite, Path::new(DEBIAN_KEYRING).exists()).with_context(|| {
            format!("apt has no source of Debian {suite} to add its backports after; {BY_HAND}")
        })?;
    eprintln!("writing {BACKPORTS_FILE}: Incus is in the backports of Debian {suite}");
    let words = [prefix, &["tee", BACKPORTS_FILE]].concat();
    let mut tee = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot write {BACKPORTS_FILE}"))?;
    tee.stdin.take().context("tee has no input")?.write_all(source.as_bytes())?;
    if !tee.wait()?.success() {
        bail!("cannot write {BACKPORTS_FILE}");
    }
    Ok(())
}

/// A source in the format of sources.list(5), after the first one of `suite` itself.
fn backports_source(targets: &str, suite: &str, has_keyring: bool) -> Option<String> {
    let mut rows = targets.lines().map(|line| line.split('|').collect::<Vec<_>>());
    let row = rows.find(|row| row.len() == 4 && row[0] == suite && row[1] == "main")?;
    let mut source = format!("Types: deb\nURIs: {}\nSuites: {suite}-backports\nComponents: main\n", row[2]);
    // What apt does not tell, it leaves in the format as it is; without a key it takes those that it trusts for all.
    let is_told = !row[3].is_empty() && !row[3].starts_with('$');
    if is_told || has_keyring {
        source += &format!("Signed-By: {}\n", if is_told { row[3] } else { DEBIAN_KEYRING });
    }
    Some(source)
}

/// The package does this as well, but only once, and not where the files are made anew with the machine.
fn add_ids(file: &str) -> Result<()> {
    let command = format!("echo {IDS_FOR_ROOT} >>{file}");
    let Some(prefix) = root_prefix() else {
        bail!("{file} has no ids for the users of containers; run `{command}` as root, then this again");
    };
    eprintln!("adding ids for the users of containers to {file}");
    // Not `usermod`, which refuses when the file is missing.
    let words = [prefix, &["sh", "-c", &command]].concat();
    let status = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        bail!("{file} has no ids for the users of containers, and `{command}` failed");
    }
    Ok(())
}

fn has_ids_for_root(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("root:") || line.starts_with("0:"))
}

/// Whether a program needs no loader, as one in an image of its own must. The loader is named at the begin of the file.
fn is_static(program: File) -> bool {
    let mut begin = Vec::new();
    let read = program.take(4096).read_to_end(&mut begin);
    read.is_ok() && begin.starts_with(b"\x7fELF") && !begin.windows(4).any(|word| word == b"/ld-")
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_a_candidate_is_told_from_one_that_can_be_installed() {
        assert!(has_candidate("incus-base:\n  Installed: (none)\n  Candidate: 6.0.4-2\n  Version table:\n"));
        assert!(!has_candidate("incus-base:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }

    #[test]
    fn backports_come_from_the_mirror_of_the_suite_and_are_signed_by_the_same_key() {
        let targets = "\
nodistro|main|https://deb.example/node/|/usr/share/keyrings/node.gpg
bookworm-security|main|http://mirror.example/debian-security/|/usr/share/keyrings/debian.gpg
bookworm|contrib|http://mirror.example/debian/|/usr/share/keyrings/debian.gpg
bookworm|main|http://mirror.example/debian/|/usr/share/keyrings/debian.gpg
";
        let source = "\
Types: deb
URIs: http://mirror.example/debian/
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian.gpg
";
        assert_eq!(backports_source(targets, "bookworm", true).as_deref(), Some(source));
        assert_eq!(backports_source(targets, "trixie", true), None);
    }

    #[test]
    fn where_apt_tells_no_key_backports_are_signed_by_debian_s_if_it_is_there() {
        let targets = "bookworm|main|http://mirror.example/debian/|$(SIGNED_BY)\n";
        let source = |has_keyring| backports_source(targets, "bookworm", has_keyring).expect("a source");
        assert!(source(true).ends_with("\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"));
        assert!(source(false).ends_with("\nComponents: main\n"));
    }

    #[test]
    fn ids_of_another_user_are_not_root_s() {
        assert!(has_ids_for_root("pika:100000:65536\nroot:1000000:1000000000\n"));
        assert!(!has_ids_for_root("chroot:1000000:65536\n"));
    }

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        let this = std::env::current_exe().expect("a test program knows where it is");
        assert!(!is_static(File::open(this).expect("it can be read")));
    }
}
