//! The stable words for why the API refused, which programs act on; docs/formats/api.md lists them.
//!
//! Invariant: a word, once published, keeps its meaning and its status. New ones may be added.

use axum::http::StatusCode;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal, $status:ident;)*) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($(#[doc = $doc])* $name,)*
        }

        impl Code {
            /// All of them, as they are documented.
            #[cfg(test)]
            pub(super) const ALL: &[Code] = &[$(Code::$name),*];

            /// The word in the answer's body.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Code::$name => $word,)*
                }
            }

            /// The status of the answer, the same for all answers with this word.
            pub(crate) fn status(self) -> StatusCode {
                match self {
                    $(Code::$name => StatusCode::$status,)*
                }
            }
        }
    };
}

codes! {
    /// A path, query or body that can't be understood.
    BadRequest = "bad_request", BAD_REQUEST;
    /// Nobody is signed in, or the token is unknown, expired or revoked.
    Unauthenticated = "unauthenticated", UNAUTHORIZED;
    /// Whoever asks may not do this.
    Forbidden = "forbidden", FORBIDDEN;
    /// A browser was made to send this by another site's page.
    CrossSite = "cross_site", FORBIDDEN;
    /// It is not there, or whoever asks may not know that it is.
    NotFound = "not_found", NOT_FOUND;
    /// The route is there, and takes other methods.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The state of things forbids it; the text says what to do.
    Conflict = "conflict", CONFLICT;
    /// The branch has another head than the one that the caller saw.
    StaleHead = "stale_head", CONFLICT;
    /// The branch and its target change the same lines.
    MergeConflict = "merge_conflict", CONFLICT;
    /// What followed it is no longer kept.
    Gone = "gone", GONE;
    /// No byte of the range is there.
    RangeNotSatisfiable = "range_not_satisfiable", RANGE_NOT_SATISFIABLE;
    /// What was asked for is larger than the forge reads.
    TooLarge = "too_large", UNPROCESSABLE_ENTITY;
    /// Too often; `Retry-After` says when again.
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS;
    /// The identity provider does not answer, or not as it should.
    ProviderUnreachable = "provider_unreachable", BAD_GATEWAY;
    /// The forge's own fault; `id` is in its log.
    Internal = "internal", INTERNAL_SERVER_ERROR;
    /// Nothing was done, because of a limit or a passing fault; the same can be tried again.
    Busy = "busy", SERVICE_UNAVAILABLE;
    /// The forge is shutting down.
    Draining = "draining", SERVICE_UNAVAILABLE;
}
