//! HTTPS as Incus uses it: both sides have self-signed certificates, and each knows the other's.
//!
//! Invariant: the server's certificate is the pinned one, byte for byte; names and dates are not looked at.

use std::fmt::Write as _;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest as _, Sha256};

use crate::transport::{Credentials, Endpoint};

const PORT_DEFAULT: u16 = 8443;
const CERTIFICATE_BEGINS: &str = "-----BEGIN CERTIFICATE-----";

/// What HTTPS needs. All texts are PEM.
#[derive(Clone)]
pub struct HttpsSettings {
    /// `https://host[:port]`.
    pub url: String,
    /// The certificate that this client shows.
    pub client_certificate: String,
    /// Its private key.
    pub client_key: String,
    /// The certificate that the server must show.
    pub server_certificate: String,
}

/// Why HTTPS can't be had with these settings.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not of the form `https://host[:port]`.
    #[error("{url:?} is no address of the form https://host:port")]
    Url {
        /// What was given.
        url: String,
    },
    /// A text is no PEM of what it should be.
    #[error("the {what} is not in PEM form")]
    Pem {
        /// Which one.
        what: &'static str,
    },
    /// Certificate and key do not go together, or are of a kind that is not known.
    #[error("the client certificate and its key can't be used")]
    Pair(#[source] rustls::Error),
}

impl HttpsSettings {
    /// Reads the texts.
    pub fn endpoint(&self) -> Result<Endpoint, TlsError> {
        let (host, port) = parse_url(&self.url).ok_or_else(|| TlsError::Url { url: self.url.clone() })?;
        let certificate = |text: &str, what| {
            CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| TlsError::Pem { what })
        };
        let pinned = certificate(&self.server_certificate, "server certificate")?;
        let own = certificate(&self.client_certificate, "client certificate")?;
        let key = PrivateKeyDer::from_pem_slice(self.client_key.as_bytes())
            .map_err(|_| TlsError::Pem { what: "client key" })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(Pinned { certificate: pinned, provider: Arc::clone(&provider) });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![own], key)
            .map_err(TlsError::Pair)?;
        Ok(Endpoint::Https { host, port, tls: Credentials(Arc::new(config)) })
    }
}

/// The SHA-256 of a PEM certificate's content, in hex: what Incus calls its fingerprint.
pub fn fingerprint_of_certificate(pem: &str) -> Result<String, TlsError> {
    let certificate =
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| TlsError::Pem { what: "certificate" })?;
    let mut text = String::new();
    for byte in Sha256::digest(&certificate) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// What stands between the first and the last line of a PEM certificate, on one line.
pub(crate) fn base64_of_certificate(pem: &str) -> Result<String, TlsError> {
    // So that what is cut out is known to be one.
    fingerprint_of_certificate(pem)?;
    let lines = pem.lines().map(str::trim).skip_while(|line| *line != CERTIFICATE_BEGINS).skip(1);
    Ok(lines.take_while(|line| !line.starts_with("-----")).collect())
}

fn parse_url(url: &str) -> Option<(String, u16)> {
    let authority = url.strip_prefix("https://")?.trim_end_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]%".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(is_plain) {
        return None;
    }
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { PORT_DEFAULT } else { rest.strip_prefix(':')?.parse().ok()? };
        return Some((host.to_owned(), port));
    }
    match authority.split_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host.to_owned(), port.parse().ok()?)),
        Some(_) => None,
        None => Some((authority.to_owned(), PORT_DEFAULT)),
    }
}

#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_maybe_a_port() {
        assert_eq!(parse_url("https://ci.example"), Some(("ci.example".to_owned(), 8443)));
        assert_eq!(parse_url("https://10.0.0.1:9000/"), Some(("10.0.0.1".to_owned(), 9000)));
        assert_eq!(parse_url("https://[::1]:9000"), Some(("::1".to_owned(), 9000)));
        for bad in [
            "http://host",
            "https://",
            "https://:1",
            "https://host:x",
            "https://h/path",
            "https://a@b",
            "https://a b",
        ] {
            assert_eq!(parse_url(bad), None, "{bad}");
        }
    }
}
