//! Keeps the secrets of repositories: sealed in the database, under a key that is in a file of its own.
//!
//! Invariants: nothing here prints a secret or the key; what is sealed for one repository and name opens for no other.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use sha2::{Digest as _, Sha256};

use crate::forge::id::RepositoryId;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// The key of a forge's secrets.
#[derive(Clone)]
pub struct SecretKey {
    cipher: XChaCha20Poly1305,
    id: String,
}

/// A secret as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecret {
    /// Never used twice with one key.
    pub nonce: Vec<u8>,
    /// The content and its proof.
    pub ciphertext: Vec<u8>,
    /// Which key it was sealed with.
    pub key_id: String,
}

/// Why a secret can't be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    /// The file can't be read or made.
    #[error("cannot {action} the key of secrets {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it.
    #[error("others can read the key of secrets {}; run `chmod 600` on it", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("{} holds no key of secrets; `pika-news secret key --out FILE` makes one", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// It was sealed with another key, or was changed.
    #[error("the secret {name} was sealed with the key {sealed_with}, and this forge has {id}; set it again")]
    OtherKey {
        /// Its name.
        name: String,
        /// The key that it was sealed with.
        sealed_with: String,
        /// The key of this forge.
        id: String,
    },
    /// The operating system has no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Random(getrandom::Error),
}

impl SecretKey {
    /// Reads the key from its file, which nobody else may read. Blocks.
    pub fn load(path: &Path) -> Result<SecretKey, SecretKeyError> {
        let failed = |source| SecretKeyError::Io { action: "read", path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(SecretKeyError::Readable { path: path.to_owned() });
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let bytes =
            STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| SecretKeyError::Malformed { path: path.to_owned() })?;
        Ok(SecretKey::new(&bytes))
    }

    /// Makes a new key and its file, which must not be there. Blocks.
    pub fn generate(path: &Path) -> Result<SecretKey, SecretKeyError> {
        let failed = |source| SecretKeyError::Io { action: "make", path: path.to_owned(), source };
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(SecretKeyError::Random)?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(format!("{}\n", STANDARD.encode(bytes)).as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(SecretKey::new(&bytes))
    }

    fn new(bytes: &[u8; KEY_BYTES]) -> SecretKey {
        // Tells keys apart; says nothing about them.
        let id = Sha256::digest([b"pika-news key of secrets".as_slice(), bytes].concat());
        let id = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        SecretKey { cipher: XChaCha20Poly1305::new(bytes.into()), id }
    }

    /// Tells this key from others.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals a secret of a repository.
    pub fn seal(
        &self,
        repository: RepositoryId,
        name: &str,
        content: &[u8],
    ) -> Result<SealedSecret, SecretKeyError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(SecretKeyError::Random)?;
        let payload = Payload { msg: content, aad: &bound_to(repository, name) };
        let sealed = self.cipher.encrypt(&nonce.into(), payload);
        // Fails for messages of 256 GiB and more alone.
        let ciphertext = sealed.map_err(|_| self.other_key(name, &self.id))?;
        Ok(SealedSecret { nonce: nonce.to_vec(), ciphertext, key_id: self.id.clone() })
    }

    /// Opens what was sealed for this repository and name.
    pub fn open(
        &self,
        repository: RepositoryId,
        name: &str,
        sealed: &SealedSecret,
    ) -> Result<Vec<u8>, SecretKeyError> {
        let refused = || self.other_key(name, &sealed.key_id);
        let nonce = <[u8; NONCE_BYTES]>::try_from(sealed.nonce.as_slice()).map_err(|_| refused())?;
        let payload = Payload { msg: &sealed.ciphertext, aad: &bound_to(repository, name) };
        self.cipher.decrypt(&nonce.into(), payload).map_err(|_| refused())
    }

    fn other_key(&self, name: &str, sealed_with: &str) -> SecretKeyError {
        SecretKeyError::OtherKey {
            name: name.to_owned(),
            sealed_with: sealed_with.to_owned(),
            id: self.id.clone(),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey({})", self.id)
    }
}

/// What a sealed secret is bound to: moved to another row of the database it does not open.
fn bound_to(repository: RepositoryId, name: &str) -> Vec<u8> {
    format!("{}:{name}", repository.0).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: RepositoryId = RepositoryId(1);

    #[test]
    fn a_secret_opens_with_its_key_for_its_repository_and_name_and_not_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::generate(&folder.path().join("key")).unwrap();
        let sealed = key.seal(SAMPLE, "DEPLOY", b"hunter22").unwrap();
        assert!(!sealed.ciphertext.windows(8).any(|part| part == b"hunter22"));
        let again = SecretKey::load(&folder.path().join("key")).unwrap();
        assert_eq!(again.open(SAMPLE, "DEPLOY", &sealed).unwrap(), b"hunter22");
        assert!(again.open(RepositoryId(2), "DEPLOY", &sealed).is_err());
        assert!(again.open(SAMPLE, "OTHER", &sealed).is_err());
        let other = SecretKey::generate(&folder.path().join("other")).unwrap();
        assert!(matches!(other.open(SAMPLE, "DEPLOY", &sealed), Err(SecretKeyError::OtherKey { .. })));
        let mut changed = sealed.clone();
        changed.ciphertext[0] ^= 1;
        assert!(again.open(SAMPLE, "DEPLOY", &changed).is_err());
        assert_ne!(key.seal(SAMPLE, "DEPLOY", b"hunter22").unwrap().nonce, sealed.nonce);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        SecretKey::generate(&path).unwrap();
        assert!(matches!(SecretKey::generate(&path), Err(SecretKeyError::Io { .. })), "it is not replaced");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SecretKey::load(&path), Err(SecretKeyError::Readable { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "c2hvcnQ=\n").unwrap();
        assert!(matches!(SecretKey::load(&path), Err(SecretKeyError::Malformed { .. })));
    }

    #[test]
    fn a_key_is_printed_by_its_id_alone() {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::generate(&folder.path().join("key")).unwrap();
        assert_eq!(format!("{key:?}"), format!("SecretKey({})", key.id()));
    }
}
