//! What is to be run, and where: the contract's variables and folders, parsed and checked.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::contract::{
    ARTIFACTS_PATH, CARGO_HOME_PATH, CARGO_TARGET_PATH, COMMAND_VARIABLE, RUN_AS_ROOT_VARIABLE, SECRETS_PATH,
    SENTINEL_NAME, SNAPSHOT_PATH, TIMEOUT_VARIABLE,
};

const TIMEOUT_SECS_MAX: u64 = 30 * 24 * 3600;

/// One command, as the three variables name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestJob {
    /// Text for `/bin/sh`.
    pub command: OsString,
    /// From the command's start.
    pub timeout: Duration,
    /// Whether it runs as root.
    pub is_root: bool,
}

/// Where things are in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPaths {
    /// The frozen source tree; the command starts here.
    pub snapshot: PathBuf,
    /// What the job leaves behind, beside log and result.
    pub artifacts: PathBuf,
    /// `CARGO_HOME`.
    pub cargo_home: PathBuf,
    /// `CARGO_TARGET_DIR`.
    pub cargo_target: PathBuf,
    /// Where the job finds its secrets.
    pub secrets: PathBuf,
}

impl Default for GuestPaths {
    fn default() -> GuestPaths {
        GuestPaths {
            snapshot: PathBuf::from(SNAPSHOT_PATH),
            artifacts: PathBuf::from(ARTIFACTS_PATH),
            cargo_home: PathBuf::from(CARGO_HOME_PATH),
            cargo_target: PathBuf::from(CARGO_TARGET_PATH),
            secrets: PathBuf::from(SECRETS_PATH),
        }
    }
}

/// What proves that a share is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sentinel {
    /// A file of its own, with what it must hold.
    File {
        /// The mount point.
        share: PathBuf,
        /// What its sentinel file must hold.
        digest: String,
    },
    /// One of its files, for a share that can't be given another one, such as a path of the Nix store.
    Witness {
        /// The file.
        file: PathBuf,
        /// How many bytes it must have.
        bytes: u64,
    },
}

/// Why a command cannot be started. Always the host's or the image's mistake, never the command's.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A variable of the contract is not set.
    #[error("{variable} is not set; whoever starts the runner has to set it")]
    Missing {
        /// The variable.
        variable: &'static str,
    },
    /// A variable of the contract holds something else than it should.
    #[error("{variable} is {value:?}; it takes {expected}")]
    Malformed {
        /// The variable.
        variable: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it holds.
        value: OsString,
    },
    /// A share has no sentinel: it is not mounted.
    #[error("{} is not mounted: it has no {SENTINEL_NAME}", share.display())]
    NotMounted {
        /// The mount point.
        share: PathBuf,
        /// What opening the sentinel said.
        source: io::Error,
    },
    /// A share lacks the file that shows that it is mounted.
    #[error("{} is not there: its share is not mounted", file.display())]
    NoWitness {
        /// The file.
        file: PathBuf,
        /// What looking at it said.
        source: io::Error,
    },
    /// A share is another one than it should be.
    #[error("{} holds {found:?} where {expected} was to be mounted", share.display())]
    WrongShare {
        /// The mount point.
        share: PathBuf,
        /// The digest that was to be there.
        expected: String,
        /// The digest that is.
        found: String,
    },
    /// The guest was to have a network.
    #[error("no interface had an address within {} ms; the job asks for a network", after.as_millis())]
    NoNetwork {
        /// How long was waited.
        after: Duration,
    },
    /// The job was to have secrets.
    #[error("cannot read the job's secrets: {why}")]
    Secrets {
        /// What is wrong with them.
        why: String,
    },
    /// There is no such user.
    #[error("there is no user {user} in /etc/passwd; this image was not made for pikaci")]
    NoUser {
        /// The name.
        user: &'static str,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl GuestJob {
    /// Reads the contract's three variables.
    pub fn read(environment: &dyn Fn(&str) -> Option<OsString>) -> Result<GuestJob, JobError> {
        let get = |variable| match environment(variable) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(JobError::Missing { variable }),
        };
        let command = get(COMMAND_VARIABLE)?;
        let timeout = get(TIMEOUT_VARIABLE)?;
        let seconds = timeout.to_str().and_then(|text| text.parse().ok());
        let Some(seconds) = seconds.filter(|seconds| (1..=TIMEOUT_SECS_MAX).contains(seconds)) else {
            let expected = "a whole number of seconds from 1 to 2592000";
            return Err(JobError::Malformed { variable: TIMEOUT_VARIABLE, expected, value: timeout });
        };
        let is_root = get(RUN_AS_ROOT_VARIABLE)?;
        let is_root = match is_root.to_str() {
            Some("1") => true,
            Some("0") => false,
            _ => {
                let expected = "1 or 0";
                return Err(JobError::Malformed { variable: RUN_AS_ROOT_VARIABLE, expected, value: is_root });
            }
        };
        Ok(GuestJob { command, timeout: Duration::from_secs(seconds), is_root })
    }
}

impl Sentinel {
    /// Makes sure that the share is there, and is the one that was meant.
    pub(crate) fn check(&self) -> Result<(), JobError> {
        match self {
            Sentinel::File { share, digest } => {
                let found = fs::read_to_string(share.join(SENTINEL_NAME))
                    .map_err(|source| JobError::NotMounted { share: share.clone(), source })?;
                let found = found.trim_end();
                if found == digest { Ok(()) } else { Err(wrong(share, digest, found)) }
            }
            Sentinel::Witness { file, bytes } => {
                let found = fs::symlink_metadata(file)
                    .map_err(|source| JobError::NoWitness { file: file.clone(), source })?
                    .len();
                if found == *bytes { Ok(()) } else { Err(wrong(file, &count(*bytes), &count(found))) }
            }
        }
    }
}

fn count(bytes: u64) -> String {
    format!("{bytes} bytes")
}

fn wrong(share: &Path, expected: &str, found: &str) -> JobError {
    let found = found.chars().take(80).collect();
    JobError::WrongShare { share: share.to_owned(), expected: expected.to_owned(), found }
}

impl JobError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JobError {
        move |source| JobError::Io { action, path: path.to_owned(), source }
    }
}

/// Makes a folder that must be writable, with its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), JobError> {
    fs::create_dir_all(path).map_err(JobError::io("create", path))
}
