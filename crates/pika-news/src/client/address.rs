//! Where a forge is: its origin, and what the address of a git remote says of it.
//!
//! Invariant: two origins are the same when scheme, host and port are, and in no other case.

use std::fmt;

use reqwest::Url;

/// A scheme, a host and a port, such as `https://pika.example.org`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

/// Why a text is no address of a forge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address of a forge; write a scheme and a host, such as https://pika.example.org")]
pub struct OriginError {
    /// The text; without what may have been a secret in it.
    text: String,
}

impl Origin {
    /// Reads an address as people write it; one that ends in `/news` was copied from a browser.
    pub fn parse(text: &str) -> Result<Origin, OriginError> {
        let shown = text.rsplit_once('@').map_or(text, |(_, after)| after);
        let wrong = || OriginError { text: shown.to_owned() };
        let url = Url::parse(text.trim()).map_err(|_| wrong())?;
        let is_bare = matches!(url.path().trim_end_matches('/'), "" | "/news")
            && url.query().is_none()
            && url.fragment().is_none();
        if !is_bare {
            return Err(wrong());
        }
        Origin::of(&url).ok_or_else(wrong)
    }

    /// The origin of an address without a user's name or password in it.
    fn of(url: &Url) -> Option<Origin> {
        let is_web = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
        let is_clean = url.username().is_empty() && url.password().is_none();
        (is_web && is_clean).then(|| Origin(url.origin().ascii_serialization()))
    }

    /// The origin as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what is sent there is encrypted.
    pub fn is_secure(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        let url = Url::parse(&self.0).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        host == "localhost" || host.starts_with("127.") || host == "[::1]"
    }

    /// Its host, without the port.
    pub fn host(&self) -> String {
        let url = Url::parse(&self.0).ok();
        url.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned()
    }

    /// An address there. Each part of the path, and each value, is one word, whatever letters it has.
    pub(super) fn url<'a>(&self, path: impl IntoIterator<Item = &'a str>, query: &[(&str, &str)]) -> String {
        let mut url = self.0.clone();
        for part in path {
            url.push('/');
            push_encoded(&mut url, part);
        }
        for (number, (name, value)) in query.iter().enumerate() {
            url.push_str(if number == 0 { "?" } else { "&" });
            url.push_str(name);
            url.push('=');
            push_encoded(&mut url, value);
        }
        url
    }

    /// Where git fetches and pushes a repository.
    pub fn git_url(&self, repository: &str) -> String {
        format!("{}/news/git/{repository}.git", self.0)
    }
}

fn push_encoded(url: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(byte));
            }
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What the address of a git remote says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteAddress {
    /// A repository of the forge at this origin.
    Http {
        /// The forge.
        origin: Origin,
        /// The repository's name.
        repository: String,
    },
    /// Perhaps a repository of a forge on this host.
    Ssh {
        /// The host.
        host: String,
        /// The repository's name.
        repository: String,
    },
}

impl RemoteAddress {
    /// Reads a remote's address; `None` when it can't be a forge's.
    pub fn parse(text: &str) -> Option<RemoteAddress> {
        let text = text.trim();
        let Ok(url) = Url::parse(text) else { return RemoteAddress::of_scp(text) };
        match url.scheme() {
            "http" | "https" => {
                let repository = repository_name(url.path().strip_prefix("/news/git/")?)?;
                let mut clean = url.clone();
                // A remote may name its user; that decides nothing about where it leads.
                clean.set_username("").ok()?;
                clean.set_password(None).ok()?;
                Some(RemoteAddress::Http { origin: Origin::of(&clean)?, repository })
            }
            "ssh" => {
                let host = url.host_str()?.to_owned();
                Some(RemoteAddress::Ssh { host, repository: repository_name(url.path())? })
            }
            // `host:path` is no address with a scheme, but may look like one.
            _ => RemoteAddress::of_scp(text),
        }
    }

    /// `git@host:repository.git`
    fn of_scp(text: &str) -> Option<RemoteAddress> {
        let (host, path) = text.split_once(':')?;
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let is_host = !host.is_empty() && !host.contains('/') && !path.starts_with("//");
        let repository = repository_name(path)?;
        is_host.then(|| RemoteAddress::Ssh { host: host.to_owned(), repository })
    }
}

fn repository_name(path: &str) -> Option<String> {
    let path = path.trim_matches('/');
    let name = path.strip_suffix(".git").unwrap_or(path);
    let is_name = !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_the_same_only_with_scheme_host_and_port() {
        let parse = |text| Origin::parse(text).unwrap();
        assert_eq!(parse("https://Pika.Example.org/"), parse("https://pika.example.org:443/news"));
        assert_eq!(parse("http://pika.example.org:80"), parse("http://pika.example.org"));
        for other in
            ["http://pika.example.org", "https://pika.example.org:444", "https://pika.example.org.evil"]
        {
            assert_ne!(parse("https://pika.example.org"), parse(other), "{other}");
        }
        for wrong in [
            "pika.example.org",
            "localhost:7800",
            "ftp://pika.example.org",
            "https://ada:secret@pika.example.org",
            "https://pika.example.org/elsewhere",
            "https://pika.example.org/?token=secret",
            "",
        ] {
            let error = Origin::parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("ada:secret"), "{error}");
        }
    }

    #[test]
    fn a_part_of_a_path_stays_one_part() {
        let origin = Origin::parse("http://127.0.0.1:7800").unwrap();
        let url = origin.url(["news", "a/b?c#d", "../é"], &[("name", "a&b=c"), ("limit", "1")]);
        assert_eq!(url, "http://127.0.0.1:7800/news/a%2Fb%3Fc%23d/..%2F%C3%A9?name=a%26b%3Dc&limit=1");
    }

    #[test]
    fn remotes_say_which_forge_and_which_repository() {
        let http = |origin: &str, repository: &str| RemoteAddress::Http {
            origin: Origin::parse(origin).unwrap(),
            repository: repository.to_owned(),
        };
        let ssh = |host: &str, repository: &str| RemoteAddress::Ssh {
            host: host.to_owned(),
            repository: repository.to_owned(),
        };
        for (text, expected) in [
            ("http://127.0.0.1:7800/news/git/sample.git", Some(http("http://127.0.0.1:7800", "sample"))),
            (
                "https://ada@pika.example.org/news/git/my.app",
                Some(http("https://pika.example.org", "my.app")),
            ),
            (
                "https://ada:secret@pika.example.org/news/git/a.git/",
                Some(http("https://pika.example.org", "a")),
            ),
            // What stands before the `@` is a name, not a host.
            ("https://pika.example.org@evil.example/news/git/a.git", Some(http("https://evil.example", "a"))),
            ("https://pika.example.org/other/git/a.git", None),
            ("https://pika.example.org/news/git/a/b.git", None),
            ("https://pika.example.org/news/git/..%2f..%2fa.git", None),
            ("ssh://git@pika.example.org:2222/sample.git", Some(ssh("pika.example.org", "sample"))),
            ("git@pika.example.org:sample.git", Some(ssh("pika.example.org", "sample"))),
            ("git@github.com:owner/name.git", None),
            ("/srv/git/sample.git", None),
            ("../sample.git", None),
            ("file:///srv/sample.git", None),
        ] {
            assert_eq!(RemoteAddress::parse(text), expected, "{text}");
        }
    }
}
