//! `cargo xtask test`: everything that must hold before a merge, on a machine that has only rustup, git and a C compiler.
//!
//! Invariant: the last line is `N passed, N failed`, and the exit code is 0 only when nothing failed.

mod guest_runner;
mod requirements;
mod tally;
mod virtual_machine;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::{cargo, incus, tidy};
use tally::Tally;

/// Tells tests where the static guest runner is.
pub(crate) const GUEST_RUNNER_VARIABLE: &str = guest_runner::VARIABLE;

/// Tells the end-to-end tests where programs are that need no building any more.
const PROGRAMS_VARIABLE: &str = "PIKA_E2E_PROGRAMS";

/// Installs what is missing, runs tidy, builds once and runs every test. Tidy counts as one test, so does the static guest
/// runner, and so does a build that fails. An error means that it did not come to a count.
pub(crate) fn run() -> Result<ExitCode> {
    requirements::install_missing()?;
    // Without it one test fails, and says so; the others are worth running.
    if let Err(error) = virtual_machine::prepare() {
        eprintln!("error: {error:#}");
    }
    let start = Instant::now();
    let daemon = incus::start();
    let mut tally = Tally::default();
    tally.add(counted(tidy::run()));
    // With all targets, so that programs and tests share one build of each dependency.
    match cargo::run(&["build", "--workspace", "--all-targets"]) {
        Ok(()) => tally.add(run_beside(daemon)?),
        failed => tally.add(counted(failed)),
    }
    eprintln!("took {} s", start.elapsed().as_secs());
    println!("{tally}");
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Brings what the virtual machine is made of, and nothing else.
pub(crate) fn prepare_virtual_machine() -> Result<()> {
    requirements::install_missing()?;
    virtual_machine::prepare()
}

/// Builds the guest runner that images have.
pub(crate) fn guest_runner() -> Result<std::path::PathBuf> {
    guest_runner::build()
}

/// Installs what tests need and the machine does not have.
pub(crate) fn install_requirements() -> Result<()> {
    requirements::install_missing()
}

/// Builds the guest runner that images have, and runs the tests beside the daemon. One that does not start fails the tests
/// that need it, and one that leaves something behind is itself a failure.
fn run_beside(daemon: incus::Starting) -> Result<Tally> {
    let guest_runner = guest_runner::build();
    let daemon = daemon.wait();
    let variables = [
        daemon.as_ref().ok().map(incus::variable),
        guest_runner.as_ref().ok().map(|program| (guest_runner::VARIABLE, program.into())),
        Some((requirements::python::VARIABLE, requirements::python::programs()?.into())),
    ];
    let mut tally = run_tests(variables.into_iter().flatten())?;
    tally.add(counted(guest_runner.map(drop)));
    let stopped = daemon.and_then(|testbed| Ok(testbed.stop()?));
    if stopped.is_err() {
        tally.add(counted(stopped));
    }
    Ok(tally)
}

fn counted(done: Result<()>) -> Tally {
    match done {
        Ok(()) => Tally { passed: 1, failed: 0 },
        Err(error) => {
            eprintln!("error: {error:#}");
            Tally { passed: 0, failed: 1 }
        }
    }
}

/// Runs the tests of the whole workspace, shows what they print as it comes, and counts.
fn run_tests(variables: impl Iterator<Item = (&'static str, OsString)>) -> Result<Tally> {
    let programs = cargo::target_directory()?.join("debug");
    let mut child = cargo::command(&["test", "--workspace", "--no-fail-fast"])
        .env(PROGRAMS_VARIABLE, programs)
        .envs(variables)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run `cargo test`")?;
    let output = child.stdout.take().context("`cargo test` has no output")?;
    let mut tally = Tally::default();
    // Bytes: a failing test may print anything.
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read what `cargo test` prints")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.read_line(&line);
    }
    let status = child.wait().context("cannot wait for `cargo test`")?;
    if !status.success() && tally.failed == 0 {
        // A test program that died has no result line of its own.
        tally.failed = 1;
    }
    Ok(tally)
}
