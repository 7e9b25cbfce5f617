//! What a request presents: the `Authorization` header and the session's cookie.
//!
//! Invariant: nothing here decides; it only reads.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Secret;

/// The session's cookie.
pub const SESSION_COOKIE: &str = "pika_session";

/// The secret with which a request identifies itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// An API token. A browser does not send it by itself.
    Token(Secret),
    /// A session. A browser sends it by itself, so that changes need proof of their origin.
    Session(Secret),
}

impl Presented {
    /// Reads the `Authorization` header, `Bearer <token>` or `Basic` with the token as the password, else the cookie.
    ///
    /// A header that can't be read is no reason to fall back on the cookie: its sender meant to be somebody.
    pub fn read(headers: &HeaderMap) -> Option<Presented> {
        match headers.get(header::AUTHORIZATION) {
            Some(value) => token(value.to_str().ok()?).map(Presented::Token),
            None => cookie(headers, SESSION_COOKIE).map(Presented::Session),
        }
    }
}

fn token(value: &str) -> Option<Secret> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Secret::presented(rest.trim())
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
        Secret::presented(decoded.split_once(':')?.1)
    } else {
        None
    }
}

/// Reads the secret that a browser keeps in this cookie.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).and_then(|(_, value)| Secret::presented(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(name: header::HeaderName, value: &str) -> Option<Presented> {
        Presented::read(&HeaderMap::from_iter([(name, value.parse().unwrap())]))
    }

    #[test]
    fn a_token_is_read_from_bearer_and_from_the_basic_password() {
        let expected = Some(Presented::Token(Secret::presented("pika_1").unwrap()));
        assert_eq!(presented(header::AUTHORIZATION, "Bearer pika_1"), expected);
        assert_eq!(presented(header::AUTHORIZATION, "bearer  pika_1 "), expected);
        let basic = format!("Basic {}", STANDARD.encode("anyone:pika_1"));
        assert_eq!(presented(header::AUTHORIZATION, &basic), expected);
    }

    #[test]
    fn what_is_not_understood_identifies_nobody() {
        for value in ["", "Bearer", "Bearer ", "Digest pika_1", "Basic !!", "Basic YWJj"] {
            assert_eq!(presented(header::AUTHORIZATION, value), None, "{value:?}");
        }
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let expected = Some(Presented::Session(Secret::presented("s1").unwrap()));
        assert_eq!(presented(header::COOKIE, "theme=dark; pika_session=s1; x=y"), expected);
        assert_eq!(presented(header::COOKIE, "not_pika_session=s1"), None);
    }

    #[test]
    fn a_broken_header_does_not_fall_back_on_the_cookie() {
        let headers = HeaderMap::from_iter([
            (header::AUTHORIZATION, "Nonsense".parse().unwrap()),
            (header::COOKIE, "pika_session=s1".parse().unwrap()),
        ]);
        assert_eq!(Presented::read(&headers), None);
    }
}
