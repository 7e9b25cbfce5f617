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
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("pika-news/", env!("CARGO_PKG_VERSION")))
        // Who sends us elsewhere could have us ask anybody, and show them what is not theirs.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(deadline);
    if let Ok(builder) = builder {
        let trusting = builder.clone().with_platform_verifier().ok();
        let tls = match trusting.filter(|_| is_https) {
            Some(builder) => builder.with_no_client_auth(),
            None => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        };
        client = client.tls_backend_preconfigured(tls);
    }
    client.build()
}
