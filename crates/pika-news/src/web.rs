//! What browsers, scripts and git see of the forge, all below `/news`.
//!
//! Invariants: a handler extracts who asks, calls one use case, and converts; every answer carries the security headers;
//! every page works without script, and its size does not depend on a log's.

mod ansi;
mod api;
mod assets;
mod code;
mod error;
mod extract;
pub mod git_http;
mod health;
mod limits;
mod live;
mod observe;
mod pages;
mod part;
mod records;
mod runs;
mod security;
pub mod server;
mod time;
mod viewer;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::auth::{Authenticator, Oidc, Passkeys};
use crate::forge::Forge;
use code::Code;
use error::{PageError, WebError};
pub use health::{after_start, own_router as health_router};
use limits::SignInLimits;
use live::Streams;
pub use observe::observe;
use records::Records;
pub use security::CONTENT_SECURITY_POLICY;

/// No form of ours is larger.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// What the handlers share. Clones share it too.
#[derive(Clone)]
pub struct Web {
    inner: Arc<Inner>,
}

struct Inner {
    forge: Forge,
    auth: Authenticator,
    streams: Streams,
    limits: SignInLimits,
    records: Records,
    oidc: Option<Oidc>,
    passkeys: Option<Passkeys>,
    /// How browsers reach the forge.
    public_url: String,
    shutdown: CancellationToken,
}

impl Web {
    /// Gathers what the handlers need. When `shutdown` is cancelled, every stream ends, so that the server can.
    pub fn new(forge: Forge, auth: Authenticator, shutdown: CancellationToken) -> Web {
        let config = forge.config();
        let oidc = config.auth.oidc.clone().and_then(|oidc| match Oidc::new(oidc, &config.public_url) {
            Ok(oidc) => Some(oidc),
            Err(error) => {
                tracing::error!(%error, "nobody can sign in with the provider: its client can't be made");
                None
            }
        });
        let (streams, limits) = (Streams::new(), SignInLimits::new());
        let (public_url, passkeys) = (config.public_url.clone(), Passkeys::new(&config.public_url));
        let records = Records::new();
        let inner = Inner { forge, auth, streams, limits, records, oidc, passkeys, public_url, shutdown };
        Web { inner: Arc::new(inner) }
    }

    fn forge(&self) -> &Forge {
        &self.inner.forge
    }

    fn auth(&self) -> &Authenticator {
        &self.inner.auth
    }

    fn streams(&self) -> &Streams {
        &self.inner.streams
    }

    fn limits(&self) -> &SignInLimits {
        &self.inner.limits
    }

    fn records(&self) -> &Records {
        &self.inner.records
    }

    fn oidc(&self) -> Option<&Oidc> {
        self.inner.oidc.as_ref()
    }

    fn passkeys(&self) -> Option<&Passkeys> {
        self.inner.passkeys.as_ref()
    }

    fn shutdown(&self) -> &CancellationToken {
        &self.inner.shutdown
    }

    fn public_url(&self) -> &str {
        &self.inner.public_url
    }

    /// Whether browsers reach the forge over TLS, so that the session's cookie may be confined to it.
    fn is_secure(&self) -> bool {
        self.public_url().starts_with("https://")
    }
}

/// Builds all routes that the forge serves. What is served beside them is in nobody's authorisation matrix.
pub fn router_with_git(
    web: Web,
    repositories: git_http::Repositories,
    git: git_http::GitHttpConfig,
) -> Router {
    let git = git_http::router(web.auth().clone(), repositories, git).layer(from_fn(observe));
    git.merge(router(web))
}

/// Builds the routes of pages, API and streams. Git's routes come from [`git_http::router`] and are merged beside them,
/// because what limits a form must not limit a push.
pub fn router(web: Web) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/news")))
        .route("/news/", get(async || Redirect::permanent("/news")))
        .route("/news/static/{hash}/{name}", get(assets::show))
        .merge(health::router())
        .merge(pages::router(&web))
        .merge(api::router(web.clone()))
        .fallback(async || -> PageError { WebError::NotFound("There is no such page.".to_owned()).into() })
        .method_not_allowed_fallback(async || -> PageError {
            WebError::Refused(Code::MethodNotAllowed, "This can't be done here.".to_owned()).into()
        })
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn_with_state(web.clone(), security::same_origin))
        .layer(from_fn(security::headers))
        .layer(from_fn(observe))
        .with_state(web)
}

#[cfg(test)]
mod tests;
