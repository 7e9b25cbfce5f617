//! Who a git client is: a token, sent as the password.

use std::fmt;

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pika_git::Repository;

use super::{Refusal, refuse};

const TOKEN_BYTES_MAX: usize = 1024;
const CHALLENGE: &str = "Basic realm=\"pika\", charset=\"UTF-8\"";
const TOKEN_MISSING: &str = "sign in with a token as the password; the user name does not matter\n";
const TOKEN_WRONG: &str = "this token is not valid, or was revoked; make a new one on the forge's page of tokens and use it as the password\n";

/// What the forge decides about a git client.
pub trait GitAccess: Clone + Send + Sync + 'static {
    /// Why a token could not be looked up.
    type Error: fmt::Display + Send;

    /// Finds the name of who holds this token now; `None` when nobody does, or may not any more.
    fn find_actor(&self, token: &str) -> impl Future<Output = Result<Option<String>, Self::Error>> + Send;

    /// Opens a repository by its name; `None` when there is none of that name.
    fn find_repository(&self, name: &str) -> Option<Repository>;
}

/// Finds out who asks; the error is the answer to who may not.
pub(super) async fn authenticate(access: &impl GitAccess, headers: &HeaderMap) -> Result<String, Refusal> {
    let Some(token) = token(headers) else { return Err(challenge(TOKEN_MISSING)) };
    match access.find_actor(&token).await {
        Ok(Some(actor)) => Ok(actor),
        Ok(None) => Err(challenge(TOKEN_WRONG)),
        Err(error) => {
            tracing::error!(%error, "a token could not be looked up");
            Err(refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the forge could not look up the token; try again\n",
            ))
        }
    }
}

/// Reads the token out of `Basic` (as the password) or `Bearer`.
fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let credentials = credentials.trim();
    if credentials.is_empty() || credentials.len() > TOKEN_BYTES_MAX {
        return None;
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

fn challenge(text: &'static str) -> Refusal {
    Refusal { header: Some((header::WWW_AUTHENTICATE, CHALLENGE)), ..refuse(StatusCode::UNAUTHORIZED, text) }
}
