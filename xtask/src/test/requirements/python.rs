//! Programs for tests that are written in Python, in an environment of their own below the target folder.
//!
//! Invariant: what is there with its version is not touched; the system's Python gets nothing.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::cargo;

/// Tells tests in which folder the programs are.
pub(crate) const VARIABLE: &str = "PIKA_TEST_PYTHON_PROGRAMS";

/// What is installed: an OpenID provider that signs everybody in, a client of the Model Context Protocol, and what makes requests up
/// from a description of the API.
const PACKAGES: [&str; 3] = ["oidc-provider-mock==0.3.4", "mcp==2.3.0", "schemathesis==4.32.5"];

/// The folder of the programs.
pub(crate) fn programs() -> Result<PathBuf> {
    Ok(environment()?.join("bin"))
}

/// Makes the environment when it is missing or holds something else.
pub(super) fn install_missing() -> Result<()> {
    let (environment, wanted) = (environment()?, PACKAGES.join("\n"));
    let done = environment.join("pika-packages");
    if std::fs::read_to_string(&done).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let folder = environment.to_string_lossy().into_owned();
    // Debian keeps what makes environments apart from Python.
    if !succeeds("python3", &["-m", "venv", &folder])? {
        super::install(&["python3-venv"])?;
        if !succeeds("python3", &["-m", "venv", &folder])? {
            bail!("`python3 -m venv {folder}` failed; install python3-venv");
        }
    }
    let python = environment.join("bin/python").to_string_lossy().into_owned();
    let mut words = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    words.extend(PACKAGES);
    if !succeeds(&python, &words)? {
        bail!("`{python} {}` failed; read what it says", words.join(" "));
    }
    std::fs::write(&done, wanted).with_context(|| format!("cannot write {}", done.display()))
}

fn environment() -> Result<PathBuf> {
    Ok(cargo::target_directory()?.join("test-python"))
}

fn succeeds(program: &str, arguments: &[&str]) -> Result<bool> {
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).status();
    Ok(status.with_context(|| format!("cannot run {program}"))?.success())
}
