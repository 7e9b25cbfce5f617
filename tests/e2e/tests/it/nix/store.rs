//! A Nix store of a test's own.
//!
//! Invariant: neither the machine's store nor its configuration is seen, and nothing is asked of a cache.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A store in a temporary folder, whose paths are where they say they are.
pub(super) struct Store(TempDir);

impl Store {
    pub(super) fn new() -> Store {
        Store(tempfile::tempdir().unwrap())
    }

    /// For files of the test. The store is below it.
    pub(super) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// A program of Nix, with this store.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("NIX_REMOTE", "local");
        for (variable, folder) in [
            ("NIX_STORE_DIR", "store"),
            ("NIX_STATE_DIR", "state"),
            ("NIX_LOG_DIR", "log"),
            ("NIX_CONF_DIR", "configuration"),
            ("HOME", "home"),
        ] {
            command.env(variable, self.0.path().join(folder));
        }
        // Without users of its own a builder runs as the user of the test, and needs no namespaces to be told apart.
        let configuration = "experimental-features = nix-command flakes\nsubstituters =\nbuild-users-group =\nsandbox = false";
        command.env("NIX_CONFIG", configuration);
        command
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Folders of a store are read-only, which stops everybody but root from removing them.
        let _ = Command::new("chmod").args(["-R", "u+w"]).arg(self.0.path()).status();
    }
}
