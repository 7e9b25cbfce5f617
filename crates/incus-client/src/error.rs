//! Why a call failed. A variant exists because a caller acts on it; the server's words are for people only.

use std::io;
use std::time::Duration;

/// Why a call failed. `what` is the request without its query, such as `GET /1.0/instances/one`, or the thing that it was about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object does not exist (HTTP 404). A client that may not see it gets the same answer.
    #[error("{what} does not exist")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The object exists already, or is busy (HTTP 409).
    #[error("{what}: {message}")]
    Conflict {
        /// What was asked for.
        what: String,
        /// What the server said.
        message: String,
    },
    /// The object was changed since its [`Tag`](crate::Tag) was read (HTTP 412). Read it again and decide anew.
    #[error("{what} was changed by somebody else in the meantime")]
    Stale {
        /// What was asked for.
        what: String,
    },
    /// The server does not want to: a bad request, a right that is missing, a limit, a fault of its own; or a proxy in between
    /// answers with an error.
    #[error("{what}: {message} (HTTP {status})")]
    Refused {
        /// What was asked for.
        what: String,
        /// The HTTP status: 400, 403 and their like, 500 and above when the server failed.
        status: u16,
        /// What the server said.
        message: String,
    },
    /// The deadline came first. The server may have done what it was asked for, or do it later; an operation that it began
    /// is asked to end.
    #[error("{what}: no answer within {} ms", after.as_millis())]
    TimedOut {
        /// What was asked for.
        what: String,
        /// The deadline.
        after: Duration,
    },
    /// An operation ended with an error, or was cancelled by somebody.
    #[error("{what}: {message}")]
    OperationFailed {
        /// What was asked for.
        what: String,
        /// The operation's own status: 400 as a rule, 401 when it was cancelled.
        status: u16,
        /// What the server said.
        message: String,
    },
    /// The server does not know the operation any more: it restarted, or the end is more than five seconds ago. What
    /// became of the work has to be asked in another way.
    #[error("{what}: the server has forgotten the operation")]
    OperationForgotten {
        /// What was asked for.
        what: String,
    },
    /// Nobody answers at the endpoint. Nothing was sent.
    #[error("cannot reach Incus at {endpoint}")]
    Unreachable {
        /// Where it should be.
        endpoint: String,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody answers at the endpoint, with another certificate than the pinned one. Nothing was sent; asking again does
    /// not help.
    #[error("{endpoint} does not show the certificate that was pinned")]
    Untrusted {
        /// Where it should be.
        endpoint: String,
    },
    /// The connection ended before the answer. The server may have done what it was asked for.
    #[error("{what}: the connection was lost")]
    Dropped {
        /// What was asked for.
        what: String,
        /// What the transport said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is not of the API's shape: no JSON, other types, too large.
    #[error("{what}: the answer is not what the API promises: {detail}")]
    Shape {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A file of this host that was to be sent can't be read, or became shorter meanwhile.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
    }

    /// Whether the server could not be talked to, or was lost on the way: asking again may help.
    pub fn is_transport(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::Dropped { .. } | Error::TimedOut { .. })
    }

    pub(crate) fn dropped(what: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Dropped { what: what.to_owned(), source: source.into() }
    }

    pub(crate) fn shape(what: &str, detail: impl std::fmt::Display) -> Error {
        Error::Shape { what: what.to_owned(), detail: detail.to_string() }
    }

    /// For people, what does not exist is a thing and not a path.
    pub(crate) fn missing(self, what: impl FnOnce() -> String) -> Error {
        match self {
            Error::NotFound { .. } => Error::NotFound { what: what() },
            error => error,
        }
    }
}
