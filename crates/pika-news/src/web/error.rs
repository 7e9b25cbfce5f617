//! What a client is told when something can't be done.
//!
//! Invariants: a client never sees a path of the server or the text of an inner error; what is our own fault carries
//! an id that is in the log as well.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;

use super::code::Code;
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
    Refused(Code, String),
    /// It is the forge's fault. The log says more under this id.
    Internal(String),
    /// Its fault too, but nothing was done and the same can be tried again. The log says more under this id.
    Busy(String),
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
        WebError::Refused(Code::BadRequest, message.into())
    }

    /// The word that says why to a program.
    pub(crate) fn code(&self) -> Code {
        match self {
            WebError::Unauthenticated => Code::Unauthenticated,
            WebError::NotFound(_) => Code::NotFound,
            WebError::Refused(code, _) => *code,
            WebError::Internal(_) => Code::Internal,
            WebError::Busy(_) => Code::Busy,
        }
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.code().status()
    }

    /// Where the log says more.
    fn id(&self) -> Option<&str> {
        match self {
            WebError::Internal(id) | WebError::Busy(id) => Some(id),
            WebError::Unauthenticated | WebError::NotFound(_) | WebError::Refused(..) => None,
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
            WebError::Busy(id) => {
                format!("the database can't be written at the moment; try again (error {id})")
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
            AuthError::UserExists { .. }
            | AuthError::LastAdministrator
            | AuthError::IdentityTaken
            | AuthError::SshKeyTaken => WebError::Refused(Code::Conflict, error.to_string()),
            AuthError::UserMissing { .. } => WebError::NotFound(error.to_string()),
            AuthError::UserDisabled { .. } => WebError::Refused(Code::Forbidden, error.to_string()),
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
            ForgeError::Git(error @ pika_git::GitError::TooManyLines { .. }) => {
                WebError::Refused(Code::TooLarge, format!("{error}; look at it with git"))
            }
            ForgeError::Git(pika_git::GitError::TooLarge { bytes_max, .. }) => WebError::Refused(
                Code::TooLarge,
                format!(
                    "this is larger than {bytes_max} bytes, which is the most that the forge reads here; look at it with git"
                ),
            ),
            ForgeError::Stale { .. } => WebError::Refused(Code::StaleHead, error.to_string()),
            ForgeError::Refused { .. } => WebError::Refused(Code::Conflict, error.to_string()),
            ForgeError::Conflict { paths } => {
                let listed =
                    paths.iter().take(CONFLICTS_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
                let all = if paths.len() > 1 { format!(" ({listed})") } else { String::new() };
                WebError::Refused(Code::MergeConflict, format!("{error}{all}"))
            }
            ForgeError::Invalid { .. } => WebError::bad_request(error.to_string()),
            ForgeError::Draining => WebError::Refused(Code::Draining, error.to_string()),
            // Another program holds the database, or the disk is full: what was asked for is not done, and can be again.
            ForgeError::Store(store) if store.is_passing() => match WebError::internal(&error) {
                WebError::Internal(id) => WebError::Busy(id),
                other => other,
            },
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

/// An error as JSON: `{"error": …, "code": …}`, with an `id` when the log says more.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) WebError);

impl<E: Into<WebError>> From<E> for ApiError {
    fn from(error: E) -> ApiError {
        ApiError(error.into())
    }
}

/// A refusal.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ErrorBody<'a> {
    /// For people. It may change.
    error: String,
    /// For programs: a word that keeps its meaning. docs/formats/api.md lists them.
    code: &'static str,
    /// Where the operator's log says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let ApiError(error) = &self;
        let body = ErrorBody { error: error.message(), code: error.code().as_str(), id: error.id() };
        let mut response = (error.status(), Json(body)).into_response();
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
    /// The path of the page that they came from, when that is known.
    pub(crate) back: Option<String>,
}

impl<E: Into<WebError>> From<E> for PageError {
    fn from(error: E) -> PageError {
        PageError { error: error.into(), user: None, back: None }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self.error {
            WebError::Unauthenticated => Redirect::to("/news/sign-in").into_response(),
            error => pages::problem(&error, self.user, self.back),
        }
    }
}
