//! The guest runner: runs one command and writes its verdict.
//!
//! Invariants: `result.json` is written once, whole, after everything else; whatever the command does, the runner ends
//! within its deadline and grace; nothing that the command started outlives it. A detached runner outlives whoever started
//! it, and there is one at most for a run folder.
//!
//! # Glossary
//!
//! - **guest**: where the command runs: an instance, or a sandbox on the host.
//! - **share**: a read-only mount; its **sentinel** holds its digest and proves that it is there.
//! - **run folder**: says which runner has the guest's job; `run --detach` claims it, `follow` and `stop` find the runner by it.
//! - **follower**: prints a job's log and hands over its result. The job does not depend on it.
//! - **secret**: a text that a job gets as a file in its guest's memory, and that its log shows masked.
//! - **lifeline**: the runner's standard input, held open by whoever started it; its end is the order to stop.

mod command_line;
mod contract;
mod detach;
mod follow;
mod guest_log;
mod job;
mod mask;
mod network;
mod orders;
mod processes;
mod pump;
mod report;
mod run;
mod run_folder;
mod secrets;
mod user;

use std::error::Error;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

pub use command_line::{Invocation, UsageError};
pub use contract::{
    ARTIFACTS_PATH, CARGO_HOME_PATH, CARGO_TARGET_PATH, COMMAND_VARIABLE, LOG_BYTES_MAX, LOG_NAME,
    RESULT_NAME, RUN_AS_ROOT_VARIABLE, RUN_FOLDER_PATH, SECRETS_PATH, SECRETS_VARIABLE, SENTINEL_NAME,
    SNAPSHOT_PATH, TIMEOUT_VARIABLE, USER,
};
pub use job::{GuestJob, GuestPaths, JobError};
pub use report::{GuestReport, GuestStatus};
pub use run::RunOptions;

use detach::DetachError;
use follow::{FollowError, Following, StopSignals};
use orders::{Orders, Sources};
use report::WrittenReport;
use run_folder::{RunFolder, RunFolderError, State};
use secrets::Secrets;

/// The exit code when the command was never started.
pub const EXIT_REFUSED: u8 = 125;
/// The exit code when the deadline came first.
pub const EXIT_TIMED_OUT: u8 = 124;
/// The exit code when the runner was told to stop.
pub const EXIT_CANCELLED: u8 = 130;

/// What `pikaci-incus-run` does, for the binary of that name and for `pikaci guest-run`.
///
/// `arguments` come without the program's name and without `words_before`, the words that a program has to be called with
/// to come here: a detached runner is this same program, called anew. `environment` is asked for the contract's variables
/// and the few that a command inherits. Returns the exit code: the command's own, or one of [`EXIT_REFUSED`],
/// [`EXIT_TIMED_OUT`], [`EXIT_CANCELLED`].
pub fn main(
    words_before: &[&str],
    arguments: impl Iterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> u8 {
    let arguments: Vec<OsString> = arguments.collect();
    let invocation = match Invocation::parse(arguments.iter().cloned()) {
        Ok(invocation) => invocation,
        Err(error) => return refuse(&format!("{error}; see --help")),
    };
    match invocation {
        Invocation::Help => print(command_line::HELP),
        Invocation::Version => print(concat!("pikaci-incus-run ", env!("CARGO_PKG_VERSION"), "\n")),
        Invocation::Run { paths, options, run_folder } => {
            run_here(environment, &paths, &options, run_folder.as_deref())
        }
        Invocation::Detach { paths, is_quiet, log_bytes_max, run_folder, has_secrets } => {
            let offset = if is_quiet { None } else { Some(0) };
            let artifacts = &paths.artifacts;
            let following = Following { run_folder: &run_folder, artifacts, offset, log_bytes_max };
            let followed = StopSignals::listen().map_err(|error| one_line(&error)).and_then(|signals| {
                detach::start(words_before, &arguments, &run_folder, &paths, has_secrets)
                    .map_err(|error: DetachError| one_line(&error))?;
                following.follow(signals).map_err(|error| one_line(&error))
            });
            hand_over(followed)
        }
        Invocation::RunDetached { paths, options, run_folder } => {
            detach::run_detached(environment, &run_folder, &paths, &options)
        }
        Invocation::Follow { artifacts, offset, log_bytes_max, run_folder } => {
            let artifacts = &artifacts;
            let following = Following { run_folder: &run_folder, artifacts, offset, log_bytes_max };
            let followed = StopSignals::listen().and_then(|signals| following.follow(signals));
            hand_over(followed.map_err(|error: FollowError| one_line(&error)))
        }
        Invocation::Stop { run_folder } => match stop(&run_folder) {
            Ok(()) => 0,
            Err(message) => refuse(&message),
        },
    }
}

/// Runs the job in this process.
fn run_here(
    environment: &dyn Fn(&str) -> Option<OsString>,
    paths: &GuestPaths,
    options: &RunOptions,
    run_folder: Option<&Path>,
) -> u8 {
    // Before anybody else looks at standard input.
    let secrets = read_secrets(options);
    let sources = Sources { has_lifeline: options.has_lifeline, heeds_hangup: true };
    let orders = match Orders::listen(sources) {
        Ok(orders) => orders,
        Err(error) => return refuse(&format!("cannot listen for signals: {error}")),
    };
    let claimed = run_folder.map(|run_folder| (run_folder, detach::claim(run_folder, paths)));
    // Held to the end.
    let _claim = match claimed {
        None => None,
        Some((_, Ok(Some(claim)))) => Some(claim),
        Some((run_folder, Ok(None))) => {
            return refuse(&format!("a job was started before; {} says so", run_folder.display()));
        }
        Some((_, Err(error))) => return refuse(&one_line(&error)),
    };
    let report = run::run(&orders, environment, paths, options, secrets).report;
    if report.status == GuestStatus::Refused {
        refuse(report.message.as_deref().unwrap_or("refused"));
    }
    report.exit_code_of_runner()
}

/// Reads the job's secrets, when it has any.
fn read_secrets(options: &RunOptions) -> Result<Secrets, JobError> {
    if options.has_secrets { Secrets::read(std::io::stdin().lock()) } else { Ok(Secrets::default()) }
}

/// Prints a result as it is, to standard error: standard output is the log's.
fn hand_over(followed: Result<WrittenReport, String>) -> u8 {
    match followed {
        Ok(written) => {
            // A reader that went away is no reason to fail.
            let _ = std::io::stderr().write_all(&written.content);
            written.exit_code_of_runner
        }
        Err(message) => refuse(&message),
    }
}

fn stop(run_folder: &Path) -> Result<(), String> {
    let stopped = || -> Result<bool, RunFolderError> {
        let Some(folder) = RunFolder::open(run_folder)? else { return Ok(false) };
        match folder.state()? {
            State::Running(runner) => runner.stop().map(|()| true),
            State::Unclaimed | State::Over => Ok(false),
        }
    };
    match stopped() {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(format!("no job is running in this guest: no runner holds {}", run_folder.display()))
        }
        Err(error) => Err(one_line(&error)),
    }
}

/// An error and its causes.
fn one_line(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    message
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
