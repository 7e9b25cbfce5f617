//! Secrets of sessions, tokens and sign-in links.
//!
//! Invariant: a secret is shown once, to its owner; what is stored is its [`SecretHash`]. Neither is ever logged.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// What every API token begins with, so that a leaked one can be recognised.
pub const TOKEN_PREFIX: &str = "pika_";

const RANDOM_BYTES: usize = 32;
/// The longest text that is hashed; nothing that this forge hands out is longer.
const TEXT_BYTES_MAX: usize = 256;

/// A secret in clear, 256 random bits as hex, with [`TOKEN_PREFIX`] when it is a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a new one for a session or a link.
    pub fn random() -> Result<Secret, getrandom::Error> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Secret(hex(&bytes)))
    }

    /// Makes a new one for an API token.
    pub fn random_token() -> Result<Secret, getrandom::Error> {
        Secret::random().map(|secret| Secret(format!("{TOKEN_PREFIX}{}", secret.0)))
    }

    /// Takes what a client sent; `None` when it is longer than any secret.
    pub fn presented(text: &str) -> Option<Secret> {
        (!text.is_empty() && text.len() <= TEXT_BYTES_MAX).then(|| Secret(text.to_owned()))
    }

    /// The text, to be shown to its owner once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns what may be stored.
    ///
    /// A plain hash is enough: it is made of 256 random bits, which nobody can try out.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// The SHA-256 of a secret. Looking it up in an index tells an attacker nothing about the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The bytes, as they are stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretHash(…)")
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_256_random_bits_and_is_not_printed() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_eq!(one.reveal().len(), 64);
        assert_ne!(one, other);
        assert_eq!(format!("{one:?} {:?}", one.hash()), "Secret(…) SecretHash(…)");
    }

    #[test]
    fn the_hash_is_sha_256_of_the_text() {
        let secret = Secret::presented("abc").unwrap();
        assert_eq!(
            hex(secret.hash().as_bytes()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_text_that_is_no_secret_is_not_hashed() {
        assert!(Secret::presented("").is_none());
        assert!(Secret::presented(&"a".repeat(257)).is_none());
    }
}
