//! Why there is no daemon, or why it did not do what it was asked for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What went wrong with a private daemon.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// Callers install it.
    #[error("{program} is missing; run `cargo xtask test` once, or `apt-get install incus-base`")]
    Missing {
        /// The program.
        program: &'static str,
    },
    /// The path is too long for sockets, has characters that a mount table escapes, or has files already.
    #[error("{} cannot be a testbed's folder: take an empty one with a plain path of at most {bytes_max} bytes", folder.display())]
    Folder {
        /// The folder asked for.
        folder: PathBuf,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The daemon needs root.
    #[error("an Incus daemon needs root: run this as root, or allow `sudo -n`")]
    NotRoot,
    /// The daemon ended, or did not answer in time.
    #[error("the daemon did not start; its log ends with:\n{log}")]
    NotStarted {
        /// The last lines of its log.
        log: String,
    },
    /// A command of the client failed.
    #[error("`incus {arguments}` failed: {message}")]
    Client {
        /// What it was told.
        arguments: String,
        /// What it said.
        message: String,
    },
    /// Something outlived the testbed.
    #[error("the testbed left behind:\n{left}")]
    Left {
        /// Processes, mounts and folders, one a line.
        left: String,
    },
    /// The supervisor is gone or does not answer.
    #[error("the testbed's supervisor did not answer within {deadline:?}")]
    Supervisor {
        /// How long was waited.
        deadline: Duration,
    },
    /// A file or process could not be used.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl TestbedError {
    /// For `map_err`.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> TestbedError {
        let action = action.into();
        move |source| TestbedError::Io { action, source }
    }
}
