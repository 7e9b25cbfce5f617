//! The runner's few options, parsed by hand: a clap would weigh more than all the rest of this static file.
//!
//! Invariant: a word that is not understood is refused, never skipped.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::job::{GuestPaths, Sentinel};
use crate::run::RunOptions;

pub(crate) const HELP: &str = "\
Runs one command and writes its verdict.

usage: pikaci-incus-run [run] [OPTIONS]
       pikaci-incus-run follow [--from OFFSET] [--artifacts DIR]

run reads PIKACI_INCUS_GUEST_COMMAND (text for /bin/sh), PIKACI_INCUS_TIMEOUT_SECS (whole seconds) and
PIKACI_INCUS_RUN_AS_ROOT (1 or 0), and leaves guest.log and result.json in the artifacts. It exits with the command's
code; with 124 when the time was up, 125 when the command was never started, 130 when it was told to stop.

  --snapshot DIR           where the command starts        [/workspace/snapshot]
  --artifacts DIR          log, result and what is kept    [/artifacts]
  --cargo-home DIR         CARGO_HOME                      [/cargo-home]
  --cargo-target DIR       CARGO_TARGET_DIR                [/cargo-target]
  --sentinel DIR=DIGEST    refuse unless DIR/.pikaci-share holds DIGEST; may be repeated
  --lifeline               stop when standard input ends
  --quiet                  print nothing of the command's output
  --same-user              run the command as the runner's own user
  --grace-ms N             between TERM and KILL           [5000]

follow prints guest.log from a byte offset, until the result is there and all of the log was printed.
";

/// What the runner is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Run the command.
    Run {
        /// Where things are.
        paths: GuestPaths,
        /// How.
        options: RunOptions,
    },
    /// Print the log as it grows.
    Follow {
        /// Where log and result are.
        artifacts: PathBuf,
        /// The first byte to print.
        offset: u64,
    },
}

/// Why the arguments make no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such word.
    #[error("unknown argument {argument:?}")]
    Unknown {
        /// The word.
        argument: OsString,
    },
    /// An option without its value.
    #[error("{option} needs a value")]
    NoValue {
        /// The option.
        option: &'static str,
    },
    /// A value that is not what the option takes.
    #[error("{option} takes {expected}, not {value:?}")]
    BadValue {
        /// The option.
        option: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it was given.
        value: OsString,
    },
}

impl Invocation {
    /// Parses the arguments, without the program's name.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Invocation, UsageError> {
        let mut words = arguments.peekable();
        let verb = words.next_if(|word| word == "run" || word == "follow");
        let is_follow = verb.is_some_and(|word| word == "follow");
        let (mut paths, mut options, mut offset) = (GuestPaths::default(), RunOptions::default(), 0);
        while let Some(word) = words.next() {
            let mut value = |option| words.next().ok_or(UsageError::NoValue { option });
            match (word.to_str().unwrap_or_default(), is_follow) {
                ("--help" | "-h", _) => return Ok(Invocation::Help),
                ("--version" | "-V", _) => return Ok(Invocation::Version),
                ("--artifacts", _) => paths.artifacts = value("--artifacts")?.into(),
                ("--from", true) => offset = number("--from", value("--from")?)?,
                ("--snapshot", false) => paths.snapshot = value("--snapshot")?.into(),
                ("--cargo-home", false) => paths.cargo_home = value("--cargo-home")?.into(),
                ("--cargo-target", false) => paths.cargo_target = value("--cargo-target")?.into(),
                ("--sentinel", false) => options.sentinels.push(sentinel(value("--sentinel")?)?),
                ("--lifeline", false) => options.has_lifeline = true,
                ("--quiet", false) => options.is_quiet = true,
                ("--same-user", false) => options.keeps_user = true,
                ("--grace-ms", false) => {
                    options.grace = Duration::from_millis(number("--grace-ms", value("--grace-ms")?)?);
                }
                _ => return Err(UsageError::Unknown { argument: word }),
            }
        }
        Ok(match is_follow {
            true => Invocation::Follow { artifacts: paths.artifacts, offset },
            false => Invocation::Run { paths, options },
        })
    }
}

fn number(option: &'static str, value: OsString) -> Result<u64, UsageError> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or(UsageError::BadValue { option, expected: "a whole number", value })
}

fn sentinel(value: OsString) -> Result<Sentinel, UsageError> {
    let parsed = value
        .to_str()
        .and_then(|text| text.rsplit_once('='))
        .map(|(share, digest)| Sentinel { share: PathBuf::from(share), digest: digest.to_owned() });
    parsed.ok_or(UsageError::BadValue { option: "--sentinel", expected: "DIR=DIGEST", value })
}
