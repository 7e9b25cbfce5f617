//! Which settings hold without a restart, and which wait for one.

use super::{CiConfig, Config};

impl Config {
    /// This configuration, with what of another one can hold at once: the repositories, how many lanes run and what they may
    /// take, and which proxies are believed.
    pub(crate) fn with_reloadable(&self, other: &Config) -> Config {
        let mut config = self.clone();
        config.repositories.clone_from(&other.repositories);
        config.retention.clone_from(&other.retention);
        config.auth.trusted_proxies.clone_from(&other.auth.trusted_proxies);
        config.ci = CiConfig {
            pikaci: self.ci.pikaci.clone(),
            pass_env: self.ci.pass_env.clone(),
            ..other.ci.clone()
        };
        config
    }

    /// The names of the settings in which another configuration differs and that hold only after a restart. Both are as they
    /// were read from their files.
    pub fn waiting_for_restart(&self, other: &Config) -> Vec<&'static str> {
        let differs = [
            ("data", self.data != other.data),
            ("listen", self.listen != other.listen),
            ("public_url", self.public_url != other.public_url),
            ("[ssh]", self.ssh != other.ssh),
            ("pikaci", self.ci.pikaci != other.ci.pikaci),
            ("pass_env", self.ci.pass_env != other.ci.pass_env),
            ("[tutorial]", self.tutorial != other.tutorial),
            ("[auth]", self.auth.oidc != other.auth.oidc),
            ("[metrics]", self.metrics != other.metrics),
            ("[secrets]", self.secrets != other.secrets),
            ("[webhooks]", self.webhooks != other.webhooks),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}
