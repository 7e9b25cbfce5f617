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
        let listeners = [
            ("listen", Some(config.listen)),
            ("[ssh] listen", config.ssh.as_ref().map(|ssh| ssh.listen)),
            ("[metrics] listen", config.metrics.listen),
        ];
        let listeners: Vec<_> = listeners
            .into_iter()
            .filter_map(|(key, address)| Some((key, address.filter(|address| address.port() != 0)?)))
            .collect();
        for (number, (key, address)) in listeners.iter().enumerate() {
            if let Some((other, _)) = listeners[..number].iter().find(|(_, taken)| taken == address) {
                problems
                    .push(format!("`{other}` and `{key}` are both {address}; give each a port of its own"));
            }
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
