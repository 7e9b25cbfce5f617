//! The runner's few options, parsed by hand: a clap would weigh more than all the rest of this static file.
//!
//! Invariant: a word that is not understood is refused, never skipped.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::contract::RUN_FOLDER_PATH;
use crate::job::{GuestPaths, Sentinel};
use crate::run::RunOptions;

pub(crate) const HELP: &str = "\
Runs one command and writes its verdict.

usage: pikaci-incus-run [run] [OPTIONS]
       pikaci-incus-run run --detach [OPTIONS]
       pikaci-incus-run follow [--from OFFSET] [--quiet] [--log-bytes-max N] [--run-dir DIR] [--artifacts DIR]
       pikaci-incus-run stop [--run-dir DIR]

run reads PIKACI_INCUS_GUEST_COMMAND (text for /bin/sh), PIKACI_INCUS_TIMEOUT_SECS (whole seconds) and
PIKACI_INCUS_RUN_AS_ROOT (1 or 0), and leaves guest.log and result.json in the artifacts. It exits with the command's
code; with 124 when the time was up, 125 when the command was never started, 130 when it was told to stop.

run --detach starts the job in a session of its own, unless one was started in this guest before, and follows it.

follow prints guest.log from a byte offset until the runner has ended, then result.json to standard error, and exits as
run does. Its end does not end the job; TERM and INT are passed on to the runner.

stop tells the runner to end its job.

  --snapshot DIR           where the command starts        [/workspace/snapshot]
  --artifacts DIR          log, result and what is kept    [/artifacts]
  --cargo-home DIR         CARGO_HOME                      [/cargo-home]
  --cargo-target DIR       CARGO_TARGET_DIR                [/cargo-target]
  --secrets-dir DIR        where the job finds its secrets [/run/pikaci-secrets]
  --sentinel DIR=DIGEST    refuse unless DIR/.pikaci-share holds DIGEST; may be repeated
  --witness FILE=BYTES     refuse unless FILE is there and has so many bytes; may be repeated
  --sentinel-wait-ms N     how long they may take to appear        [0]
  --network-wait-ms N      refuse unless the guest has an address within this time   [0: it needs none]
  --log-bytes-max N        how much of the output is kept  [1073741824]
  --detach                 outlive whoever started it
  --run-dir DIR            says which runner has the job   [/run/pikaci with --detach, else none]
  --secrets                read secrets from standard input, before anything else; a detached job included
  --lifeline               stop when standard input ends
  --quiet                  print nothing of the command's output
  --same-user              run the command as the runner's own user
  --grace-ms N             between TERM and KILL           [5000]
  --from OFFSET            the first byte to print         [0]
";

/// What `run --detach` starts this program with. Not for anybody else: it takes all that `run` does.
pub(crate) const DETACHED_VERB: &str = "run-detached";

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
        /// What says that this runner has the job.
        run_folder: Option<PathBuf>,
    },
    /// Have the command run by a process of its own, and follow it.
    Detach {
        /// Where things are.
        paths: GuestPaths,
        /// Whether the log is not printed.
        is_quiet: bool,
        /// How much of the log there may be.
        log_bytes_max: u64,
        /// What says which runner has the job.
        run_folder: PathBuf,
        /// Whether the job reads secrets from standard input.
        has_secrets: bool,
    },
    /// Be that process.
    RunDetached {
        /// Where things are.
        paths: GuestPaths,
        /// How.
        options: RunOptions,
        /// What says that this runner has the job.
        run_folder: PathBuf,
    },
    /// Print the log as it grows.
    Follow {
        /// Where log and result are.
        artifacts: PathBuf,
        /// The first byte to print; `None` prints nothing of the log.
        offset: Option<u64>,
        /// How much of the log there may be.
        log_bytes_max: u64,
        /// What says which runner has the job.
        run_folder: PathBuf,
    },
    /// Tell the runner to end its job.
    Stop {
        /// What says which runner has the job.
        run_folder: PathBuf,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Run,
    RunDetached,
    Follow,
    Stop,
}

impl Verb {
    fn parse(word: &str) -> Option<Verb> {
        match word {
            "run" => Some(Verb::Run),
            DETACHED_VERB => Some(Verb::RunDetached),
            "follow" => Some(Verb::Follow),
            "stop" => Some(Verb::Stop),
            _ => None,
        }
    }
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
    /// Two options that exclude each other.
    #[error("{one} and {other} exclude each other")]
    Contradiction {
        /// The one.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
}

impl Invocation {
    /// Parses the arguments, without the program's name.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Invocation, UsageError> {
        let mut words = arguments.peekable();
        let verb = words.peek().and_then(|word| Verb::parse(word.to_str()?));
        if verb.is_some() {
            words.next();
        }
        let verb = verb.unwrap_or(Verb::Run);
        let (is_run, is_follow) = (matches!(verb, Verb::Run | Verb::RunDetached), verb == Verb::Follow);
        let (mut paths, mut options) = (GuestPaths::default(), RunOptions::default());
        let (mut offset, mut run_folder, mut is_detached) = (0, None, false);
        while let Some(word) = words.next() {
            let mut value = |option| words.next().ok_or(UsageError::NoValue { option });
            match word.to_str().unwrap_or_default() {
                "--help" | "-h" => return Ok(Invocation::Help),
                "--version" | "-V" => return Ok(Invocation::Version),
                "--run-dir" => run_folder = Some(PathBuf::from(value("--run-dir")?)),
                "--artifacts" if is_run || is_follow => paths.artifacts = value("--artifacts")?.into(),
                "--quiet" if is_run || is_follow => options.is_quiet = true,
                "--from" if is_follow => offset = number("--from", value("--from")?)?,
                "--snapshot" if is_run => paths.snapshot = value("--snapshot")?.into(),
                "--cargo-home" if is_run => paths.cargo_home = value("--cargo-home")?.into(),
                "--secrets-dir" if is_run => paths.secrets = value("--secrets-dir")?.into(),
                "--cargo-target" if is_run => paths.cargo_target = value("--cargo-target")?.into(),
                "--sentinel" if is_run => options.sentinels.push(sentinel(value("--sentinel")?)?),
                "--witness" if is_run => options.sentinels.push(witness(value("--witness")?)?),
                "--sentinel-wait-ms" if is_run => {
                    options.sentinel_wait =
                        Duration::from_millis(number("--sentinel-wait-ms", value("--sentinel-wait-ms")?)?);
                }
                "--network-wait-ms" if is_run => {
                    options.network_wait =
                        Duration::from_millis(number("--network-wait-ms", value("--network-wait-ms")?)?);
                }
                "--log-bytes-max" if is_run || is_follow => {
                    options.log_bytes_max = number("--log-bytes-max", value("--log-bytes-max")?)?;
                }
                "--detach" if is_run => is_detached = true,
                "--secrets" if is_run => options.has_secrets = true,
                "--lifeline" if is_run => options.has_lifeline = true,
                "--same-user" if is_run => options.keeps_user = true,
                "--grace-ms" if is_run => {
                    options.grace = Duration::from_millis(number("--grace-ms", value("--grace-ms")?)?);
                }
                _ => return Err(UsageError::Unknown { argument: word }),
            }
        }
        if is_detached && options.has_lifeline {
            return Err(UsageError::Contradiction { one: "--detach", other: "--lifeline" });
        }
        let (is_quiet, log_bytes_max) = (options.is_quiet, options.log_bytes_max);
        let chosen = run_folder.clone().unwrap_or_else(|| PathBuf::from(RUN_FOLDER_PATH));
        Ok(match verb {
            Verb::Run if is_detached => Invocation::Detach {
                paths,
                is_quiet,
                log_bytes_max,
                run_folder: chosen,
                has_secrets: options.has_secrets,
            },
            Verb::Run => Invocation::Run { paths, options, run_folder },
            Verb::RunDetached => {
                options.is_quiet = true;
                Invocation::RunDetached { paths, options, run_folder: chosen }
            }
            Verb::Follow => {
                let offset = if is_quiet { None } else { Some(offset) };
                Invocation::Follow { artifacts: paths.artifacts, offset, log_bytes_max, run_folder: chosen }
            }
            Verb::Stop => Invocation::Stop { run_folder: chosen },
        })
    }
}

fn number(option: &'static str, value: OsString) -> Result<u64, UsageError> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or(UsageError::BadValue { option, expected: "a whole number", value })
}

fn witness(value: OsString) -> Result<Sentinel, UsageError> {
    let parsed = value
        .to_str()
        .and_then(|text| text.rsplit_once('='))
        .and_then(|(file, bytes)| Some(Sentinel::Witness { file: file.into(), bytes: bytes.parse().ok()? }));
    parsed.ok_or(UsageError::BadValue { option: "--witness", expected: "FILE=BYTES", value })
}

fn sentinel(value: OsString) -> Result<Sentinel, UsageError> {
    let parsed = value
        .to_str()
        .and_then(|text| text.rsplit_once('='))
        .map(|(share, digest)| Sentinel::File { share: PathBuf::from(share), digest: digest.to_owned() });
    parsed.ok_or(UsageError::BadValue { option: "--sentinel", expected: "DIR=DIGEST", value })
}
