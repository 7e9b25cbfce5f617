//! The private Incus daemon that all test programs share, and `cargo xtask with-incus`.
//!
//! Invariant: the daemon ends with this process, however that ends.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};
use incus_testbed::{INCUS_DIR_VARIABLE, Testbed};

use crate::test;

/// A daemon on its way up.
pub(crate) struct Starting(JoinHandle<Result<Testbed>>);

/// Starts the daemon while other work is done.
pub(crate) fn start() -> Starting {
    Starting(thread::spawn(|| Testbed::start_below_tmp().context("cannot start a private Incus daemon")))
}

impl Starting {
    /// Waits until the daemon is up.
    pub(crate) fn wait(self) -> Result<Testbed> {
        self.0.join().unwrap_or_else(|_| Err(anyhow!("the start of the private Incus daemon panicked")))
    }
}

/// How test programs are told of the daemon: a variable and its value.
pub(crate) fn variable(testbed: &Testbed) -> (&'static str, OsString) {
    (INCUS_DIR_VARIABLE, testbed.incus_dir().into())
}

/// What `with-incus` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs a command beside a private daemon, and ends as the command does.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    test::install_requirements()?;
    let testbed = start();
    let runner = test::guest_runner()?;
    let testbed = testbed.wait()?;
    let (program, rest) = arguments.command.split_first().context("no command")?;
    let status = Command::new(program)
        .args(rest)
        .envs([variable(&testbed), (test::GUEST_RUNNER_VARIABLE, runner.into())])
        .status()
        .with_context(|| format!("cannot run {}", program.display()));
    testbed.stop()?;
    // A command that was ended by a signal has no code.
    Ok(ExitCode::from(u8::try_from(status?.code().unwrap_or(1)).unwrap_or(1)))
}
