//! Finds out which forge and which repository somebody means who stands in a working tree.
//!
//! Invariant: what a remote says decides whom to ask, never which token is sent: that is found by the whole origin.

use super::address::{Origin, RemoteAddress};
use super::credentials::{Credentials, CredentialsError};

/// A forge, and a repository when one is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The forge.
    pub origin: Origin,
    /// The repository.
    pub repository: Option<String>,
}

/// Finds the place that remotes lead to. They are given by address, the one that matters most first; among them, one of a
/// forge that there is a token of comes before the others.
pub fn of_remotes<'a>(
    addresses: impl IntoIterator<Item = &'a str>,
    credentials: &Credentials,
) -> Result<Option<Place>, CredentialsError> {
    let known = credentials.list()?;
    let is_known = |origin: &Origin| known.iter().any(|(known, _)| known == origin);
    let mut first = None;
    for address in addresses.into_iter().filter_map(RemoteAddress::parse) {
        let (origin, repository) = match address {
            RemoteAddress::Http { origin, repository } => (origin, repository),
            RemoteAddress::Ssh { host, repository } => {
                let mut there = known.iter().filter(|(origin, _)| origin.host() == host);
                match (there.next(), there.next()) {
                    (Some((origin, _)), None) => (origin.clone(), repository),
                    // Which of several forges on one host it is, its port does not say.
                    (Some(_), Some(_)) | (None, _) => continue,
                }
            }
        };
        let place = Place { repository: Some(repository), origin };
        if is_known(&place.origin) {
            return Ok(Some(place));
        }
        first.get_or_insert(place);
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;
    use crate::client::credentials::Credential;

    #[test]
    fn a_forge_with_a_token_is_preferred_and_an_ssh_remote_is_its_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::new(folder.path());
        let origin = |text| Origin::parse(text).unwrap();
        let place =
            |text, repository: &str| Place { origin: origin(text), repository: Some(repository.to_owned()) };
        let token = Secret::presented("pika_1").unwrap();
        let (github, evil, ssh) = (
            "https://github.com/owner/name.git",
            "https://evil.example/news/git/sample.git",
            "ssh://git@pika.example.org:2222/sample.git",
        );
        assert_eq!(of_remotes([github, ssh], &credentials).unwrap(), None);
        let found = of_remotes([github, evil], &credentials).unwrap();
        assert_eq!(found, Some(place("https://evil.example", "sample")));
        let forge = origin("https://pika.example.org");
        credentials.keep(&forge, &Credential { user: "ada".to_owned(), token: token.clone() }).unwrap();
        let found = of_remotes([evil, github, ssh], &credentials).unwrap();
        assert_eq!(found, Some(place("https://pika.example.org", "sample")));
        let other = origin("https://pika.example.org:8443");
        credentials.keep(&other, &Credential { user: "ada".to_owned(), token }).unwrap();
        assert_eq!(of_remotes([ssh], &credentials).unwrap(), None);
    }
}
