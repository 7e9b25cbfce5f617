//! `[auth]`: who vouches for people, and who stands before the forge.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::Checker;

/// How people are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// The provider that people may sign in with.
    pub oidc: Option<OidcConfig>,
    /// The addresses of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

/// An OpenID provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcConfig {
    /// Its address, as it calls itself.
    pub issuer: String,
    /// What the provider calls this forge.
    pub client_id: String,
    /// The file of what this forge proves itself with; without one the forge is a public client, with PKCE alone.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that a new user's name comes from.
    pub name_claim: String,
    /// Only people whose verified address ends so, unless empty.
    pub allowed_domains: Vec<String>,
    /// Only people with one of these in `groups`, unless empty.
    pub required_groups: Vec<String>,
    /// Whether who is not known yet becomes a user, without a role anywhere.
    pub create_users: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAuth {
    oidc: Option<RawOidc>,
    #[serde(default)]
    trusted_proxies: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOidc {
    issuer: Spanned<String>,
    client_id: Spanned<String>,
    client_secret_file: Option<PathBuf>,
    scopes: Option<Vec<String>>,
    name_claim: Option<String>,
    #[serde(default)]
    allowed_domains: Vec<String>,
    #[serde(default)]
    required_groups: Vec<String>,
    #[serde(default)]
    create_users: bool,
}

impl Checker<'_> {
    pub(super) fn auth(&mut self, raw: RawAuth, folder: &Path) -> AuthConfig {
        let proxies = raw.trusted_proxies.into_iter().filter_map(|text| match text.get_ref().parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let message = format!("{:?} is not an address such as \"127.0.0.1\"", text.get_ref());
                self.push(text.span(), message);
                None
            }
        });
        let trusted_proxies = proxies.collect();
        AuthConfig { oidc: raw.oidc.map(|raw| self.oidc(raw, folder)), trusted_proxies }
    }

    fn oidc(&mut self, raw: RawOidc, folder: &Path) -> OidcConfig {
        let url = openidconnect::IssuerUrl::new(raw.issuer.get_ref().clone());
        let is_web = url.is_ok_and(|url| {
            let is_here = matches!(url.url().host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
            url.url().scheme() == "https" || (url.url().scheme() == "http" && is_here)
        });
        if !is_web {
            let message = format!(
                "`issuer` is {:?}; write the provider's address, such as \"https://id.example.org\"",
                raw.issuer.get_ref()
            );
            self.push(raw.issuer.span(), message);
        }
        if raw.client_id.get_ref().is_empty() {
            self.push(raw.client_id.span(), "`client_id` is empty; the provider gives it".to_owned());
        }
        let words = ["profile", "email"].map(str::to_owned).to_vec();
        OidcConfig {
            issuer: raw.issuer.into_inner(),
            client_id: raw.client_id.into_inner(),
            client_secret_file: raw.client_secret_file.map(|file| folder.join(file)),
            scopes: raw.scopes.unwrap_or(words),
            name_claim: raw.name_claim.unwrap_or_else(|| "preferred_username".to_owned()),
            allowed_domains: raw
                .allowed_domains
                .into_iter()
                .map(|domain| domain.to_ascii_lowercase())
                .collect(),
            required_groups: raw.required_groups,
            create_users: raw.create_users,
        }
    }
}
