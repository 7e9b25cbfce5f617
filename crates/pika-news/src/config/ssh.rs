//! The section `[ssh]`: where git is served over SSH; without it, nowhere.
//!
//! Invariant: the address that people are shown is one that they can type.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{Checker, Config};

const PORT_DEFAULT: u16 = 22;

/// How git is served over SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshConfig {
    /// Where connections are taken.
    pub listen: SocketAddr,
    /// The server's own key; made at the first start.
    pub host_key: PathBuf,
    /// How git reaches it, such as `ssh://git@pika.example.org`; made of `public_url` and `listen` when not given.
    pub public_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSsh {
    listen: Spanned<String>,
    host_key: Option<PathBuf>,
    public_url: Option<Spanned<String>>,
}

impl Checker<'_> {
    pub(super) fn ssh(&mut self, raw: Option<RawSsh>, data: &Path, folder: &Path) -> Option<SshConfig> {
        let raw = raw?;
        let listen = match raw.listen.get_ref().parse() {
            Ok(listen) => listen,
            Err(_) => {
                let message = format!(
                    "`listen` is {:?}; write an address and a port, such as \"0.0.0.0:2222\"",
                    raw.listen.get_ref()
                );
                self.push(raw.listen.span(), message);
                SocketAddr::from(([127, 0, 0, 1], 0))
            }
        };
        let host_key = match raw.host_key {
            Some(path) => folder.join(path),
            None => data.join("ssh_host_ed25519_key"),
        };
        let public_url = raw.public_url.map(|url| {
            let text = url.get_ref().trim_end_matches('/').to_owned();
            let rest = text.strip_prefix("ssh://").unwrap_or_default();
            if rest.is_empty() || rest.contains(|letter: char| "/?#".contains(letter) || letter.is_whitespace()) {
                let message =
                    format!("`public_url` is {text:?}; write a user and a host alone, such as \"ssh://git@pika.example.org:2222\"");
                self.push(url.span(), message);
            }
            text
        });
        Some(SshConfig { listen, host_key, public_url })
    }
}

impl Config {
    /// What git clones a repository from over SSH; `None` when it is not served so.
    pub fn ssh_clone_url(&self, repository: &str) -> Option<String> {
        let ssh = self.ssh.as_ref()?;
        let base = ssh.public_url.clone().unwrap_or_else(|| {
            let host = host(&self.public_url);
            match ssh.listen.port() {
                PORT_DEFAULT => format!("ssh://git@{host}"),
                port => format!("ssh://git@{host}:{port}"),
            }
        });
        Some(format!("{base}/{repository}.git"))
    }
}

/// The host of an origin, without its port; an IPv6 address keeps its brackets.
fn host(origin: &str) -> &str {
    let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}
