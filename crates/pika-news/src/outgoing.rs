//! How the forge asks other servers over HTTP.
//!
//! Invariant: nothing is followed elsewhere, no variable of the environment redirects a request, and each has a deadline.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// Makes a client for requests that take no longer than the deadline. Without `is_https` no certificates of the system are needed,
/// which a machine may not have.
pub(crate) fn client(deadline: Duration, is_https: bool) -> Result<reqwest::Client, reqwest::Error> {
    builder(deadline, is_https).build()
}

/// The same, for a caller that adds to it.
pub(crate) fn builder(deadline: Duration, is_https: bool) -> reqwest::ClientBuilder {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("pika-news/", env!("CARGO_PKG_VERSION")))
        // Who sends us elsewhere could have us ask anybody, and show them what is not theirs.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(deadline);
    if let Ok(tls) = tls {
        let trusting = tls.clone().with_platform_verifier().ok();
        let tls = match trusting.filter(|_| is_https) {
            Some(tls) => tls.with_no_client_auth(),
            None => tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        };
        client = client.tls_backend_preconfigured(tls);
    }
    client
}
