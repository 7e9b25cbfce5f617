//! Why a command could not do what it was asked to, and the exit code of that.
//!
//! Invariant: 2 is what the caller can mend in words or manifest, 130 what the caller ended, 3 is everything else; none is a
//! verdict on a job.

use std::fmt;

use pikaci::StoreError;
use pikaci_engine::image::ImageError;
use pikaci_engine::snapshot::GitFailure;

/// The exit code of a mistake in the arguments or in the manifest.
pub(crate) const USAGE: u8 = 2;
/// The exit code of trouble that is not the caller's.
pub(crate) const INFRASTRUCTURE: u8 = 3;

/// The exit code of what was cancelled.
pub(crate) const CANCELLED: u8 = 130;

/// Ends the program. `{}` writes the error and its causes for people.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// The caller asked for something that cannot be.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: USAGE, error: error.into() }
    }

    /// The same, in words of one's own.
    pub(crate) fn usage_text(text: impl fmt::Display) -> Failure {
        Failure::usage(anyhow::anyhow!("{text}"))
    }

    /// Something else went wrong.
    pub(crate) fn infrastructure(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: INFRASTRUCTURE, error: error.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {:#}", self.error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        match &error {
            StoreError::RunMissing { .. }
            | StoreError::JobMissing { .. }
            | StoreError::NoJobs { .. }
            | StoreError::RunExists { .. } => Failure::usage(error),
            StoreError::Locked { .. }
            | StoreError::TooNew { .. }
            | StoreError::Malformed { .. }
            | StoreError::Fold { .. }
            | StoreError::Io { .. } => Failure::infrastructure(error),
        }
    }
}

impl From<GitFailure> for Failure {
    fn from(error: GitFailure) -> Failure {
        match &error {
            GitFailure::NoRepository { .. } | GitFailure::NoRevision { .. } => Failure::usage(error),
            GitFailure::Start { .. }
            | GitFailure::Pipe { .. }
            | GitFailure::Late { .. }
            | GitFailure::Refused { .. }
            | GitFailure::Form { .. } => Failure::infrastructure(error),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Failure {
        match &error {
            ImageError::VirtualMachine
            | ImageError::Name { .. }
            | ImageError::Runner { .. }
            | ImageError::Busybox { .. }
            | ImageError::Start { .. }
            | ImageError::Word { .. }
            // A suite or a package that does not exist, as a rule.
            | ImageError::Failed { .. }
            | ImageError::System { .. } => Failure::usage(error),
            ImageError::Late { .. } | ImageError::Io { .. } => Failure::infrastructure(error),
            ImageError::Cancelled => Failure { code: CANCELLED, error: error.into() },
        }
    }
}
