//! The section `[secrets]`: the key that secrets are kept under.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Checker;

/// How secrets are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsConfig {
    /// The file of the key; `None`: there are no secrets.
    pub key_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecrets {
    key_file: Option<PathBuf>,
}

impl Checker<'_> {
    // That the key can be read is found out by whoever needs it: a check of the configuration may run as another user.
    #[allow(clippy::unused_self, reason = "one of the checker's sections")]
    pub(super) fn secrets(&mut self, raw: RawSecrets, folder: &Path) -> SecretsConfig {
        SecretsConfig { key_file: raw.key_file.map(|path| folder.join(path)) }
    }
}
