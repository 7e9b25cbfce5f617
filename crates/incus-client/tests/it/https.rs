//! HTTPS with a pinned certificate, against a fake server.

use std::sync::Arc;

use incus_client::{Client, Error, ExecRequest, HttpsSettings, TlsError, fingerprint_of_certificate};
use rcgen::{CertificateParams, CertifiedKey, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use serde_json::json;

use crate::fake::{Fake, Reply};

/// A certificate that nobody signed, with its key.
pub(crate) fn certificate() -> CertifiedKey<KeyPair> {
    let signing_key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["whoever".to_owned()]).unwrap().self_signed(&signing_key).unwrap();
    CertifiedKey { cert, signing_key }
}

/// What the server is given; it asks for a certificate and takes any, as Incus does.
fn server_config(identity: &CertifiedKey<KeyPair>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(identity.signing_key.serialize_pem().as_bytes()).unwrap();
    ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(TakesAny(provider)))
        .with_single_cert(vec![identity.cert.der().clone()], key)
        .unwrap()
}

fn settings(port: u16, own: &CertifiedKey<KeyPair>, pinned: &CertifiedKey<KeyPair>) -> HttpsSettings {
    HttpsSettings {
        url: format!("https://127.0.0.1:{port}"),
        client_certificate: own.cert.pem(),
        client_key: own.signing_key.serialize_pem(),
        server_certificate: pinned.cert.pem(),
    }
}

#[tokio::test]
async fn the_pinned_server_is_shown_the_clients_certificate() {
    let (server, own) = (certificate(), certificate());
    let fake = Fake::start_https(server_config(&server), |_| Reply::Sync(json!([]))).await;
    let client = Client::new(settings(fake.port, &own, &server).endpoint().unwrap());
    assert!(!client.endpoint().is_local());
    assert_eq!(client.endpoint().to_string(), format!("https://127.0.0.1:{}", fake.port));
    for _ in 0..3 {
        client.projects().await.unwrap();
    }
    for seen in fake.seen() {
        assert_eq!(seen.certificate.as_ref(), Some(own.cert.der()));
        assert_eq!(seen.header("host"), Some(format!("127.0.0.1:{}", fake.port).as_str()));
        assert_eq!(seen.connection, 0);
    }
}

#[tokio::test]
async fn a_server_with_another_certificate_is_told_nothing() {
    let (server, own, expected) = (certificate(), certificate(), certificate());
    let fake = Fake::start_https(server_config(&server), |_| Reply::Sync(json!([]))).await;
    let client = Client::new(settings(fake.port, &own, &expected).endpoint().unwrap());
    let error = client.projects().await.unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
    assert!(!error.is_transport());
    let error = client.events(&[]).await.unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn streams_are_opened_over_https_too() {
    let (server, own) = (certificate(), certificate());
    let fake = Fake::start_https(server_config(&server), |_| Reply::Error(403, "no")).await;
    let client = Client::new(settings(fake.port, &own, &server).endpoint().unwrap());
    client.events(&[]).await.unwrap_err();
    client.exec("c", &ExecRequest::new(["/x"])).await.unwrap_err();
    let seen = fake.seen();
    assert_eq!(seen[0].header("upgrade"), Some("websocket"));
    assert!(seen.iter().all(|seen| seen.certificate.is_some()));
}

#[tokio::test]
async fn a_server_without_tls_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let own = certificate();
    let client = Client::new(settings(port, &own, &own).endpoint().unwrap());
    let error = client.projects().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    // The listener is gone with its task.
    let error = client.projects().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let (one, two) = (certificate(), certificate());
    let good = settings(1, &one, &two);
    assert!(good.endpoint().is_ok());
    let url = HttpsSettings { url: "http://host".to_owned(), ..good.clone() };
    assert!(matches!(url.endpoint(), Err(TlsError::Url { .. })));
    let pem = HttpsSettings { server_certificate: "no PEM".to_owned(), ..good.clone() };
    assert!(matches!(pem.endpoint(), Err(TlsError::Pem { what: "server certificate" })));
    let key = HttpsSettings { client_key: one.cert.pem(), ..good.clone() };
    assert!(matches!(key.endpoint(), Err(TlsError::Pem { what: "client key" })));
    let pair = HttpsSettings { client_key: two.signing_key.serialize_pem(), ..good };
    assert!(matches!(pair.endpoint(), Err(TlsError::Pair(_))));
}

#[test]
fn a_fingerprint_is_that_of_the_certificates_content() {
    let one = certificate();
    let fingerprint = fingerprint_of_certificate(&one.cert.pem()).unwrap();
    assert_eq!(fingerprint.len(), 64);
    assert_ne!(fingerprint, fingerprint_of_certificate(&certificate().cert.pem()).unwrap());
    assert!(fingerprint_of_certificate("no PEM").is_err());
}

#[derive(Debug)]
struct TakesAny(Arc<rustls::crypto::CryptoProvider>);

impl ClientCertVerifier for TakesAny {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
