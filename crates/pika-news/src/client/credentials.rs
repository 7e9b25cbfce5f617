//! The tokens of this person, by the forge that issued each: `credentials.toml`.
//!
//! Invariants: a token is found by its whole origin and by nothing less; the file is its owner's alone, and is replaced in one
//! step.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Origin;
use crate::auth::Secret;

const FILE: &str = "credentials.toml";
/// Held while the file is changed: two changes at once would lose one.
const LOCK: &str = "credentials.lock";

/// Why the tokens can't be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Others may have read them.
    #[error("{} can be read by others, so its tokens may be known; `chmod 600` it and make new ones", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The file is no list of tokens.
    #[error("{} can't be understood", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: toml::de::Error,
    },
    /// The file can't be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why the system refused.
        source: io::Error,
    },
}

/// Who this person is to one forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The user, as the forge calls them.
    pub user: String,
    /// The token.
    pub token: Secret,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    user: String,
    token: String,
}

/// The file of the tokens.
#[derive(Clone, Debug)]
pub struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    /// The tokens that are kept in this folder, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Credentials {
        Credentials { folder: folder.into() }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Finds the token that this forge issued.
    pub fn find(&self, origin: &Origin) -> Result<Option<Credential>, CredentialsError> {
        let entry = self.read()?.remove(origin.as_str());
        Ok(entry
            .and_then(|entry| Some(Credential { user: entry.user, token: Secret::presented(&entry.token)? })))
    }

    /// Lists the forges that there are tokens of.
    pub fn list(&self) -> Result<Vec<(Origin, String)>, CredentialsError> {
        let entries = self.read()?.into_iter();
        Ok(entries.filter_map(|(text, entry)| Some((Origin::parse(&text).ok()?, entry.user))).collect())
    }

    /// Keeps a token, in place of an earlier one of the same forge.
    pub fn keep(&self, origin: &Origin, credential: &Credential) -> Result<(), CredentialsError> {
        let _lock = self.lock()?;
        let mut entries = self.read()?;
        let Credential { user, token } = credential;
        let entry = Entry { user: user.clone(), token: token.reveal().to_owned() };
        entries.insert(origin.as_str().to_owned(), entry);
        self.write(&entries)
    }

    /// Forgets a token. `false`: there was none.
    pub fn forget(&self, origin: &Origin) -> Result<bool, CredentialsError> {
        let _lock = self.lock()?;
        let mut entries = self.read()?;
        let was_there = entries.remove(origin.as_str()).is_some();
        if was_there {
            self.write(&entries)?;
        }
        Ok(was_there)
    }

    fn lock(&self) -> Result<fs::File, CredentialsError> {
        let path = self.folder.join(LOCK);
        let failed = |source| CredentialsError::Io { action: "lock", path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        let options = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = options.map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn read(&self) -> Result<BTreeMap<String, Entry>, CredentialsError> {
        let path = self.path();
        let failed = |source| CredentialsError::Io { action: "read", path: path.clone(), source };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(failed(error)),
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(CredentialsError::Open { path });
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        toml::from_str(&text).map_err(|source| CredentialsError::Malformed { path, source })
    }

    fn write(&self, entries: &BTreeMap<String, Entry>) -> Result<(), CredentialsError> {
        let path = self.path();
        let failed = |source| CredentialsError::Io { action: "write", path: path.clone(), source };
        let text = toml::to_string(entries).map_err(|error| failed(io::Error::other(error)))?;
        let temporary = self.folder.join(format!("{FILE}.{}", std::process::id()));
        let written = write_private(&temporary, &text).and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            failed(error)
        })
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    // A file of an earlier process with our number would keep its own rights.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    #[test]
    fn a_token_is_kept_for_its_origin_alone_and_for_nobody_else_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::new(folder.path().join("pika-news"));
        let (forge, other) = (origin("https://pika.example.org"), origin("http://127.0.0.1:7800"));
        assert_eq!(credentials.find(&forge).unwrap(), None);
        let credential =
            |token: &str| Credential { user: "ada".to_owned(), token: Secret::presented(token).unwrap() };
        credentials.keep(&forge, &credential("pika_1")).unwrap();
        credentials.keep(&other, &credential("pika_2")).unwrap();
        credentials.keep(&forge, &credential("pika_3")).unwrap();
        assert_eq!(credentials.find(&forge).unwrap(), Some(credential("pika_3")));
        for stranger in [
            "http://pika.example.org",
            "https://pika.example.org:8443",
            "https://pika.example",
            "http://127.0.0.1",
        ] {
            assert_eq!(credentials.find(&origin(stranger)).unwrap(), None, "{stranger}");
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&credentials.path()), 0o600);
        assert_eq!(mode(credentials.path().parent().unwrap()), 0o700);
        assert!(credentials.forget(&other).unwrap() && !credentials.forget(&other).unwrap());
        assert_eq!(credentials.list().unwrap(), [(forge.clone(), "ada".to_owned())]);

        fs::set_permissions(credentials.path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(credentials.find(&forge), Err(CredentialsError::Open { .. })));
    }
}
