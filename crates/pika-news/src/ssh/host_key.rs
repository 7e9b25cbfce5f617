//! The server's own key: made once, kept for good, readable by the forge alone.
//!
//! Invariant: a key that is there is never replaced; its clients would take the forge for an impostor.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// The file can't be read or made.
    #[error("cannot {action} the SSH host key {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("others may read the SSH host key {}; run `chmod 600` on it", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("{} holds no SSH key without a passphrase; `ssh-keygen -t ed25519 -N ''` makes one", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: russh::keys::ssh_key::Error,
    },
    /// The operating system has no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Random(getrandom::Error),
}

/// Reads the key, or makes one of the kind ed25519 when there is none.
pub fn load_or_make(path: &Path) -> Result<PrivateKey, HostKeyError> {
    let failed = |action| move |source| HostKeyError::Io { action, path: path.to_owned(), source };
    let unreadable = |source| HostKeyError::Unreadable { path: path.to_owned(), source };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let mode = std::fs::metadata(path).map_err(failed("look at"))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(HostKeyError::Readable { path: path.to_owned() });
            }
            PrivateKey::from_openssh(&text).map_err(unreadable)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(HostKeyError::Random)?;
            let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
            let text = key.to_openssh(LineEnding::LF).map_err(unreadable)?;
            write(path, text.as_bytes()).map_err(failed("make"))?;
            Ok(key)
        }
        Err(error) => Err(failed("read")(error)),
    }
}

/// Whole or not at all: half a key would be taken for a broken one for ever.
fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let _ = std::fs::remove_file(&temporary);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_the_forge_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("key");
        let made = load_or_make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_make(&path).unwrap().public_key(), made.public_key());
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("key");
        load_or_make(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load_or_make(&path), Err(HostKeyError::Readable { .. })));
        std::fs::write(&path, "no key").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(load_or_make(&path), Err(HostKeyError::Unreadable { .. })));
    }
}
