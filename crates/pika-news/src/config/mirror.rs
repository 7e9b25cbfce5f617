//! `[repositories.mirror]`: where a repository's branches and tags are pushed to, and whether commits are told their state there.
//!
//! Invariant: a password is never in the configuration, only the file that it is in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pika_git::{MirrorCredential, MirrorTarget};
use serde::Deserialize;
use toml::Spanned;

use super::Checker;

const INTERVAL: Duration = Duration::from_secs(300);
const DEADLINE: Duration = Duration::from_secs(600);
const PRUNE_PERCENT: u8 = 20;

/// A mirror of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorConfig {
    /// The other host's repository.
    pub target: MirrorTarget,
    /// How often it is looked at though nothing was pushed.
    pub interval: Duration,
    /// Where commits are told their state; nowhere when absent.
    pub statuses: Option<StatusesConfig>,
}

/// Where commits are told their state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusesConfig {
    /// Whose API it is.
    pub kind: StatusHost,
    /// The address of the repository in that API.
    pub url: String,
    /// The file whose first line is the token.
    pub token_file: PathBuf,
}

/// Whose API is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusHost {
    /// GitHub's, below `https://api.github.com/repos/OWNER/NAME`.
    GitHub,
    /// Forgejo's and Gitea's, below `https://HOST/api/v1/repos/OWNER/NAME`.
    Forgejo,
    /// GitLab's, below `https://HOST/api/v4/projects/ID`.
    GitLab,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMirror {
    url: Spanned<String>,
    username: Option<String>,
    password_file: Option<Spanned<PathBuf>>,
    ssh_key: Option<Spanned<PathBuf>>,
    known_hosts: Option<PathBuf>,
    interval_s: Option<Spanned<u64>>,
    deadline_s: Option<Spanned<u64>>,
    prune: Option<bool>,
    prune_percent_max: Option<Spanned<u8>>,
    statuses: Option<RawStatuses>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStatuses {
    kind: StatusHost,
    url: Spanned<String>,
    token_file: PathBuf,
}

impl Checker<'_> {
    pub(super) fn mirror(&mut self, raw: RawMirror, folder: &Path) -> MirrorConfig {
        let span = raw.url.span();
        let url = raw.url.into_inner();
        let credential = match (raw.password_file, raw.ssh_key) {
            (Some(_), Some(key)) => {
                self.push(key.span(), "`ssh_key` and `password_file` exclude each other".to_owned());
                MirrorCredential::None
            }
            (Some(file), None) => {
                if !url.starts_with("https://") && !url.starts_with("http://") {
                    self.push(file.span(), "`password_file` is for addresses with https://".to_owned());
                }
                MirrorCredential::Password {
                    username: raw.username.unwrap_or_else(|| "pika".to_owned()),
                    password_file: folder.join(file.into_inner()),
                }
            }
            (None, Some(key)) => match raw.known_hosts {
                Some(known_hosts) => MirrorCredential::SshKey {
                    key_file: folder.join(key.into_inner()),
                    known_hosts_file: folder.join(known_hosts),
                },
                None => {
                    let message = "`ssh_key` needs `known_hosts`, the file of the host's key: `ssh-keyscan HOST > FILE`";
                    self.push(key.span(), message.to_owned());
                    MirrorCredential::None
                }
            },
            (None, None) => MirrorCredential::None,
        };
        if let Some(problem) = find_problem(&url) {
            self.push(span, format!("`url` {problem}"));
        }
        let seconds = |checker: &mut Self, key, raw, default: Duration| {
            Duration::from_secs(checker.within(key, raw, 1, 86_400, default.as_secs()))
        };
        let interval = seconds(self, "interval_s", raw.interval_s, INTERVAL);
        let deadline = seconds(self, "deadline_s", raw.deadline_s, DEADLINE);
        let percent = self.within("prune_percent_max", raw.prune_percent_max, 0, 100, PRUNE_PERCENT);
        let statuses = raw.statuses.map(|statuses| {
            let address = statuses.url.get_ref();
            if !address.starts_with("https://") && !address.starts_with("http://") {
                let message = "`url` of the statuses must begin with https://, such as \"https://git.example.org/api/v1/repos/OWNER/NAME\"";
                self.push(statuses.url.span(), message.to_owned());
            }
            StatusesConfig {
                kind: statuses.kind,
                url: address.trim_end_matches('/').to_owned(),
                token_file: folder.join(statuses.token_file),
            }
        });
        MirrorConfig {
            target: MirrorTarget {
                url,
                credential,
                deadline,
                prune_percent_max: raw.prune.unwrap_or(true).then_some(percent),
            },
            interval,
            statuses,
        }
    }
}

/// What is wrong with an address, if something is.
fn find_problem(url: &str) -> Option<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        // A path of this machine, or git's short form of an SSH address.
        let is_short = url.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'));
        let is_known = url.starts_with('/') || is_short && !url.starts_with('-') && !url.contains("::");
        return (!is_known)
            .then(|| format!("is {url:?}; write https://…, ssh://…, HOST:PATH or an absolute path"));
    };
    let host = rest.split('/').next().unwrap_or_default();
    if !["https", "http", "ssh", "file"].contains(&scheme) {
        return Some(format!("has the scheme {scheme:?}; git is mirrored over https, http, ssh or file"));
    }
    if host.split_once('@').is_some_and(|(user, _)| user.contains(':') || scheme != "ssh") {
        return Some("holds a password or a name; put them into `username` and `password_file`".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find_problem;

    #[test]
    fn addresses_that_git_would_take_for_something_else_are_refused() {
        for url in ["https://h/x.git", "ssh://git@h:22/x", "git@h:x.git", "/srv/x.git", "file:///srv/x"] {
            assert_eq!(find_problem(url), None, "{url}");
        }
        for url in
            ["https://u:p@h/x", "https://token@h/x", "ext::sh -c id", "-oProxyCommand=id:x", "x", "ftp://h/x"]
        {
            assert!(find_problem(url).is_some(), "{url}");
        }
    }
}
