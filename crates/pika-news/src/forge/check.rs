//! What a configuration needs beside its own text.

use std::fs::File;
use std::path::Path;

use pika_git::MirrorCredential;

use super::{Forge, secret};
use crate::config::Config;
use crate::tutorials::Tutorials;

impl Forge {
    /// Says what would keep a forge from being served with a configuration, or a part of it from doing its work: keys that can't
    /// be read, a writer that can't be made. Makes nothing.
    pub fn check(config: &Config) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(error) = secret::load_key(config.secrets.key_file.as_deref()) {
            problems.push(format!("[secrets]: {error}"));
        }
        if let Err(error) = Tutorials::new(&config.tutorial) {
            problems.push(format!("[tutorial]: {error}"));
        }
        let mut must_open = |key: &str, file: &Path| {
            if let Err(error) = File::open(file) {
                problems.push(format!("`{key}`: {} can't be read: {error}", file.display()));
            }
        };
        if let Some(file) = config.auth.oidc.as_ref().and_then(|oidc| oidc.client_secret_file.as_ref()) {
            must_open("client_secret_file", file);
        }
        for mirror in config.repositories.iter().filter_map(|repository| repository.mirror.as_ref()) {
            match &mirror.target.credential {
                MirrorCredential::None => {}
                MirrorCredential::Password { password_file, .. } => must_open("password_file", password_file),
                MirrorCredential::SshKey { key_file, known_hosts_file } => {
                    must_open("ssh_key", key_file);
                    must_open("known_hosts", known_hosts_file);
                }
            }
            if let Some(statuses) = &mirror.statuses {
                must_open("token_file", &statuses.token_file);
            }
        }
        problems
    }
}
