//! Why the forge did not do, or say, what it was asked for.

use super::Origin;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There was no answer. Callers may ask again.
    #[error("cannot reach {origin}: {problem}")]
    Unreachable {
        /// The forge.
        origin: Origin,
        /// What the network said.
        problem: String,
        /// Whether the request certainly did not arrive.
        is_unsent: bool,
    },
    /// The server wants us to go elsewhere, where the token has no business.
    #[error("{origin} leads elsewhere ({to}), where its token is not sent; sign in at the right address")]
    Redirected {
        /// The forge.
        origin: Origin,
        /// Where it leads to.
        to: String,
    },
    /// The forge said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable word.
        code: Option<String>,
        /// What it said.
        message: String,
    },
    /// The answer is none that a forge gives.
    #[error("the server's answer can't be read ({problem}); is it a pika forge?")]
    Answer {
        /// What was wrong with it.
        problem: String,
    },
    /// What is not there, by the name that it was asked for.
    #[error("there is no {what}")]
    Missing {
        /// The thing.
        what: String,
    },
    /// The client can't work on this machine.
    #[error("cannot speak HTTPS: {problem}")]
    Setup {
        /// Why.
        problem: String,
    },
}

impl ClientError {
    /// Whether asking the same later may help.
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } => true,
            ClientError::Refused { status, .. } => matches!(status, 429 | 502..=504),
            ClientError::Redirected { .. }
            | ClientError::Answer { .. }
            | ClientError::Missing { .. }
            | ClientError::Setup { .. } => false,
        }
    }

    /// Whether nothing was done for certain, and the same can be sent again.
    pub fn is_undone(&self) -> bool {
        match self {
            ClientError::Unreachable { is_unsent, .. } => *is_unsent,
            ClientError::Refused { status, code, .. } => *status == 503 && code.is_some(),
            ClientError::Redirected { .. }
            | ClientError::Answer { .. }
            | ClientError::Missing { .. }
            | ClientError::Setup { .. } => false,
        }
    }

    /// Whether the token is the reason.
    pub fn is_unauthenticated(&self) -> bool {
        matches!(self, ClientError::Refused { status: 401, .. })
    }

    /// Whether it is not there, or not for us.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Refused { status: 404, .. } | ClientError::Missing { .. })
    }
}
