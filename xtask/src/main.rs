//! `cargo xtask …`: what this repository does to itself.
//!
//! Invariant: on a machine with rustup, git and a C compiler, `test` and `demo` need nothing to be run before them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a binary talks to its user")]

mod bench;
mod cargo;
mod demo;
mod incus;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the pika repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks formatting, lints, the floors of ARCHITECTURE.md and the rules of the house.
    Tidy,
    /// Installs what is missing, runs tidy and every test, and ends with a count.
    Test,
    /// Fetches the kernel and builds the virtiofsd of the test that boots a virtual machine. Part of `test`.
    VirtualMachine,
    /// Runs a command beside a private Incus daemon, such as `cargo test -p pikaci-engine`.
    WithIncus(incus::Arguments),
    /// Builds both programs and serves a sample forge on 127.0.0.1.
    Demo(demo::Arguments),
    /// Prints our figures, each beside a peer's in the same run.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.task {
        Task::Tidy => tidy::run().map(|()| ExitCode::SUCCESS),
        Task::Test => test::run(),
        Task::VirtualMachine => test::prepare_virtual_machine().map(|()| ExitCode::SUCCESS),
        Task::WithIncus(arguments) => incus::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Bench(arguments) => bench::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
