//! The section `[metrics]`: where the forge's figures and health are served without authentication.

use std::net::SocketAddr;

use serde::Deserialize;
use toml::Spanned;

use super::Checker;

/// Who may read the figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Where they are served to whoever reaches it; `None`: with the forge's pages, to administrators.
    pub listen: Option<SocketAddr>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    listen: Option<Spanned<String>>,
}

impl Checker<'_> {
    pub(super) fn metrics(&mut self, raw: RawMetrics) -> MetricsConfig {
        let Some(raw) = raw.listen else { return MetricsConfig::default() };
        let listen = raw.get_ref().parse().ok();
        if listen.is_none() {
            let message = format!(
                "`listen` is {:?}; write an address and a port, such as \"127.0.0.1:9464\"",
                raw.get_ref()
            );
            self.push(raw.span(), message);
        }
        MetricsConfig { listen }
    }
}
