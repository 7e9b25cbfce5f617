//! What holds for every answer and every change, whatever the handler.
//!
//! Invariants: every answer carries the headers; a change that a browser's cookie vouches for comes from our own pages.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Web;
use super::code::Code;
use super::error::{ApiError, WebError};
use crate::auth::Presented;

/// The policy of every answer: nothing but our own files, no inline script or style, no frame around us.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(&str, &str); 4] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// What an answer may say otherwise: who may show it, and who may keep it.
const DEFAULTS: [(&str, &str); 2] =
    [("cross-origin-resource-policy", "same-origin"), ("cache-control", "no-store")];

/// Adds the headers; answers that say nothing of caching are not stored.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    for (name, value) in DEFAULTS {
        let name = HeaderName::from_static(name);
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Refuses a change that another site's page makes a browser send.
pub(super) async fn same_origin(State(web): State<Web>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || is_allowed(request.headers(), web.public_url()) {
        return next.run(request).await;
    }
    let message = "this change did not come from a page of this forge; go to the page and try again there";
    ApiError(WebError::Refused(Code::CrossSite, message.to_owned())).into_response()
}

fn is_allowed(headers: &HeaderMap, public_url: &str) -> bool {
    match Presented::read(headers) {
        Some(Presented::Token(_)) => true,
        Some(Presented::Session(_)) => says_same_origin(headers, public_url) == Some(true),
        // Nothing to abuse, but another site must not sign somebody in.
        None => says_same_origin(headers, public_url) != Some(false),
    }
}

/// Whether the browser says that the request comes from our own page; `None` when it says nothing.
fn says_same_origin(headers: &HeaderMap, public_url: &str) -> Option<bool> {
    // Not sent to plain-HTTP origins, hence the second look.
    if let Some(site) = headers.get("sec-fetch-site") {
        return Some(site == "same-origin");
    }
    let origin = headers.get(header::ORIGIN)?.to_str().ok();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    Some(origin.is_some_and(|origin| {
        let origin_host = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
        origin == public_url || (origin_host.is_some() && origin_host.as_deref() == host)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed_with(headers: &[(&str, &str)]) -> bool {
        let pairs = headers.iter().map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        });
        is_allowed(&HeaderMap::from_iter(pairs), "https://pika.example.org")
    }

    #[test]
    fn a_cookie_alone_vouches_for_no_change() {
        let cookie = ("cookie", "pika_session=s1");
        assert!(!is_allowed_with(&[cookie]));
        for site in ["cross-site", "same-site", "none", "nonsense"] {
            assert!(!is_allowed_with(&[cookie, ("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["null", "https://evil.example", "https://pika.example.org.evil.example", "https://"] {
            let headers = [cookie, ("origin", origin), ("host", "pika.example.org")];
            assert!(!is_allowed_with(&headers), "{origin}");
        }
    }

    #[test]
    fn a_cookie_with_its_own_origin_may_change() {
        let cookie = ("cookie", "pika_session=s1");
        assert!(is_allowed_with(&[cookie, ("sec-fetch-site", "same-origin")]));
        assert!(is_allowed_with(&[cookie, ("origin", "https://pika.example.org")]));
        assert!(is_allowed_with(&[cookie, ("origin", "http://127.0.0.1:7800"), ("host", "127.0.0.1:7800")]));
    }

    #[test]
    fn a_token_needs_no_origin() {
        assert!(is_allowed_with(&[("authorization", "Bearer pika_1"), ("origin", "https://evil.example")]));
    }

    #[test]
    fn another_site_can_not_sign_somebody_in() {
        assert!(!is_allowed_with(&[("origin", "https://evil.example"), ("host", "pika.example.org")]));
        assert!(is_allowed_with(&[]));
    }
}
