//! Why a client's command could not do what it was asked to, and the exit code of that.
//!
//! Invariant: 1 is a verdict or the forge's refusal, 2 what the caller can mend in words, sign-in or manifest, 3 everything else.

use std::fmt;

use pika_news::client::ClientError;
use pika_news::client::credentials::CredentialsError;
use pika_news::client::session::SessionError;

/// A job failed, or the forge refused to do it.
pub(super) const FAILED: u8 = 1;
/// The arguments, the sign-in or the manifest.
pub(super) const USAGE: u8 = 2;
/// Trouble that is neither the caller's nor the tested code's.
pub(super) const INFRASTRUCTURE: u8 = 3;
/// Time was over.
pub(super) const TIMED_OUT: u8 = 4;
/// It was cancelled.
pub(super) const CANCELLED: u8 = 130;

/// Ends the program. `{}` writes the error and its causes for people.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// The caller asked for something that cannot be.
    pub(super) fn usage(text: impl fmt::Display) -> Failure {
        Failure { code: USAGE, error: anyhow::anyhow!("{text}") }
    }

    /// Something else went wrong.
    pub(super) fn infrastructure(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: INFRASTRUCTURE, error: error.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#}", self.error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let code = match &error {
            ClientError::Refused { status: 409, .. } => FAILED,
            ClientError::Refused { status: 400..=499, .. }
            | ClientError::Redirected { .. }
            | ClientError::Missing { .. } => USAGE,
            ClientError::Refused { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Answer { .. }
            | ClientError::Setup { .. } => INFRASTRUCTURE,
        };
        let is_unauthenticated = error.is_unauthenticated();
        let mut error = anyhow::Error::new(error);
        if is_unauthenticated {
            error = error.context("the forge does not know this token any more; sign in with a new one");
        }
        Failure { code, error }
    }
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Failure {
        Failure { code: USAGE, error: error.into() }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Failure {
        match error {
            SessionError::Client(error) => error.into(),
            SessionError::Credentials(error) => error.into(),
            SessionError::Git(error) => Failure::infrastructure(error),
            SessionError::Forge
            | SessionError::SignedOut { .. }
            | SessionError::Repository { .. }
            | SessionError::Branch
            | SessionError::BranchMissing { .. }
            | SessionError::CommitMissing { .. } => Failure::usage(error),
        }
    }
}
