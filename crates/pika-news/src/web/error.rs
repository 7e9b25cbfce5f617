//! What a client is told when something can't be done.
//!
//! Invariants: a client never sees a path of the server or the text of an inner error; what is our own fault carries
//! an id that is in the log as well.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;

use super::pages;
use crate::auth::{AuthError, User};
use crate::forge::ForgeError;

/// How many paths of a conflict are named.
const CONFLICTS_LISTED: usize = 20;

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WebError {
    /// Nobody is signed in.
    Unauthenticated,
    /// It is not there, or the user may not know that it is.
    NotFound(String),
    /// It can't be done, and the client can do something about it.
    Refused(StatusCode, String),
    /// It is the forge's fault. The log says more under this id.
    Internal(String),
}

impl WebError {
    /// Notes an inner error in the log, and returns what the client may see of it.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> WebError {
        let id = format!("{:08x}", getrandom::u32().unwrap_or_default());
        let mut causes = vec![error.to_string()];
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        tracing::error!(id, error = causes.join(": "), "a request failed");
        WebError::Internal(id)
    }

    /// Refuses a request whose form or query can't be understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> WebError {
        WebError::Refused(StatusCode::BAD_REQUEST, message.into())
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            WebError::Unauthenticated => StatusCode::UNAUTHORIZED,
            WebError::NotFound(_) => StatusCode::NOT_FOUND,
            WebError::Refused(status, _) => *status,
            WebError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the client reads.
    pub(crate) fn message(&self) -> String {
        match self {
            WebError::Unauthenticated => {
                "sign in, or send an API token as `Authorization: Bearer pika_…`".to_owned()
            }
            WebError::NotFound(message) | WebError::Refused(_, message) => message.clone(),
            WebError::Internal(id) => {
                format!("something went wrong on our side; the operator finds it as error {id}")
            }
        }
    }
}

impl From<AuthError> for WebError {
    fn from(error: AuthError) -> WebError {
        match &error {
            AuthError::UserName { .. }
            | AuthError::TokenTitle
            | AuthError::TokenScopes
            | AuthError::TooManyTokens
            | AuthError::SshKey { .. } => WebError::bad_request(error.to_string()),
            AuthError::UserExists { .. } | AuthError::LastAdministrator | AuthError::SshKeyTaken => {
                WebError::Refused(StatusCode::CONFLICT, error.to_string())
            }
            AuthError::UserMissing { .. } => WebError::NotFound(error.to_string()),
            AuthError::UserDisabled { .. } => WebError::Refused(StatusCode::FORBIDDEN, error.to_string()),
            AuthError::Random(_) | AuthError::Store(_) => WebError::internal(&error),
        }
    }
}

impl From<pikaci::StoreError> for WebError {
    /// A loader's failure is "not found": what is unreadable here is unreadable for everybody.
    fn from(error: pikaci::StoreError) -> WebError {
        use pikaci::StoreError as Error;
        match &error {
            Error::RunMissing { .. }
            | Error::JobMissing { .. }
            | Error::NoJobs { .. }
            | Error::TooNew { .. }
            | Error::Malformed { .. }
            | Error::Fold { .. } => WebError::NotFound(error.to_string()),
            Error::RunExists { .. } | Error::Locked { .. } | Error::Io { .. } => {
                match WebError::internal(&error) {
                    WebError::Internal(id) => WebError::NotFound(format!(
                        "the run's record can't be read; the operator finds it as error {id}"
                    )),
                    other => other,
                }
            }
        }
    }
}

impl From<ForgeError> for WebError {
    fn from(error: ForgeError) -> WebError {
        match &error {
            ForgeError::NotFound { .. } | ForgeError::Git(pika_git::GitError::NotFound { .. }) => {
                WebError::NotFound(error.to_string())
            }
            ForgeError::Git(pika_git::GitError::TooLarge { bytes_max, .. }) => WebError::Refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!(
                    "this is larger than {bytes_max} bytes, which is the most that the forge reads here; look at it with git"
                ),
            ),
            ForgeError::Stale { .. } | ForgeError::Refused { .. } => {
                WebError::Refused(StatusCode::CONFLICT, error.to_string())
            }
            ForgeError::Conflict { paths } => {
                let listed =
                    paths.iter().take(CONFLICTS_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
                WebError::Refused(StatusCode::CONFLICT, format!("{error} ({listed})"))
            }
            ForgeError::Invalid { .. } => WebError::bad_request(error.to_string()),
            ForgeError::Draining => WebError::Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            // Another program holds the database, or the disk is full: what was asked for is not done, and can be again.
            ForgeError::Store(store) if store.is_passing() => {
                let WebError::Internal(id) = WebError::internal(&error) else {
                    return WebError::internal(&error);
                };
                let message = format!("the database can't be written at the moment; try again (error {id})");
                WebError::Refused(StatusCode::SERVICE_UNAVAILABLE, message)
            }
            ForgeError::Git(_) | ForgeError::Store(_) | ForgeError::Secret { .. } | ForgeError::Io { .. } => {
                WebError::internal(&error)
            }
        }
    }
}

impl From<pikaci::IdError> for WebError {
    fn from(error: pikaci::IdError) -> WebError {
        WebError::NotFound(error.to_string())
    }
}

/// An error as JSON: `{"error": …}`.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) WebError);

impl<E: Into<WebError>> From<E> for ApiError {
    fn from(error: E) -> ApiError {
        ApiError(error.into())
    }
}

#[derive(Serialize)]
struct ErrorBody {
    error: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.0.status(), Json(ErrorBody { error: self.0.message() })).into_response();
        if self.0 == WebError::Unauthenticated {
            let scheme = HeaderValue::from_static("Bearer realm=\"pika\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// An error as a page. Who is not signed in is shown how to.
#[derive(Debug)]
pub(crate) struct PageError {
    /// What went wrong.
    pub(crate) error: WebError,
    /// Who asked, when that is known.
    pub(crate) user: Option<User>,
}

impl<E: Into<WebError>> From<E> for PageError {
    fn from(error: E) -> PageError {
        PageError { error: error.into(), user: None }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self.error {
            WebError::Unauthenticated => Redirect::to("/news/sign-in").into_response(),
            error => pages::problem(&error, self.user),
        }
    }
}
