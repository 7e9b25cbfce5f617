//! The guest runner: runs one command and writes its verdict.
//!
//! Invariants: `result.json` is written once, whole, after everything else; whatever the command does, the runner ends
//! within its deadline and grace; nothing that the command started outlives it.
//!
//! # Glossary
//!
//! - **guest**: where the command runs: an instance, or a sandbox on the host.
//! - **share**: a read-only mount; its **sentinel** holds its digest and proves that it is there.
//! - **lifeline**: the runner's standard input, held open by whoever started it; its end is the order to stop.

mod command_line;
mod contract;
mod follow;
mod guest_log;
mod job;
mod processes;
mod pump;
mod report;
mod run;
mod user;

use std::ffi::OsString;
use std::io::Write as _;

pub use command_line::{Invocation, UsageError};
pub use contract::{
    ARTIFACTS_PATH, CARGO_HOME_PATH, CARGO_TARGET_PATH, COMMAND_VARIABLE, LOG_NAME, RESULT_NAME,
    RUN_AS_ROOT_VARIABLE, SENTINEL_NAME, SNAPSHOT_PATH, TIMEOUT_VARIABLE, USER,
};
pub use job::{GuestJob, GuestPaths, JobError};
pub use report::{GuestReport, GuestStatus};
pub use run::{RunOptions, run};

/// The exit code when the command was never started.
pub const EXIT_REFUSED: u8 = 125;
/// The exit code when the deadline came first.
pub const EXIT_TIMED_OUT: u8 = 124;
/// The exit code when the runner was told to stop.
pub const EXIT_CANCELLED: u8 = 130;

/// What `pikaci-incus-run` does, for the binary of that name and for `pikaci guest-run`.
///
/// `arguments` come without the program's name; `environment` is asked for the contract's variables and the few that a
/// command inherits. Returns the exit code: the command's own, or one of [`EXIT_REFUSED`], [`EXIT_TIMED_OUT`],
/// [`EXIT_CANCELLED`].
pub fn main(arguments: impl Iterator<Item = OsString>, environment: &dyn Fn(&str) -> Option<OsString>) -> u8 {
    let invocation = match Invocation::parse(arguments) {
        Ok(invocation) => invocation,
        Err(error) => return refuse(&format!("{error}; see --help")),
    };
    match invocation {
        Invocation::Help => print(command_line::HELP),
        Invocation::Version => print(concat!("pikaci-incus-run ", env!("CARGO_PKG_VERSION"), "\n")),
        Invocation::Follow { artifacts, offset } => match follow::follow(&artifacts, offset) {
            Ok(()) => 0,
            Err(error) => refuse(&format!("cannot follow {}: {error}", artifacts.join(LOG_NAME).display())),
        },
        Invocation::Run { paths, options } => {
            let report = run(environment, &paths, &options);
            if report.status == GuestStatus::Refused {
                refuse(report.message.as_deref().unwrap_or("refused"));
            }
            report.exit_code_of_runner()
        }
    }
}

fn print(text: &str) -> u8 {
    // A reader that went away is no reason to fail.
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

fn refuse(message: &str) -> u8 {
    let _ = writeln!(std::io::stderr(), "pikaci-incus-run: {message}");
    EXIT_REFUSED
}
