//! The command `pikaci`: runs the jobs of a repository's manifest, and shows what came of them.
//!
//! Invariants: the environment is read here and in [`config`] only; what a command prints for programs goes to standard
//! output, what it says to people about its own trouble to standard error; every way out has a documented exit code.

#![allow(clippy::print_stderr, reason = "a binary")]

mod arguments;
mod commands;
mod config;
mod failure;
mod incus;
mod init;
mod interrupt;
mod output;
mod run_name;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::Arguments;
use config::Config;

/// The first argument that makes this binary the guest runner of its local executor.
const GUEST_RUN: &str = "guest-run";

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == GUEST_RUN) {
        return ExitCode::from(pikaci_incus_run::main(&[GUEST_RUN], words, &|name| std::env::var_os(name)));
    }
    // Ends with 2 when the arguments make no sense.
    let arguments = Arguments::parse();
    let done = Config::read(arguments.state_root.as_deref())
        .and_then(|config| commands::perform(arguments.command, &config));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}
