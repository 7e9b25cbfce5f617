//! The section `[webhooks]`: whom events may be sent to.

use serde::Deserialize;

use super::Checker;

/// Whom events may be sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Whether to addresses of private networks and of this machine too. An administrator of a repository could otherwise have
    /// the forge ask what only it can reach.
    pub allow_private: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWebhooks {
    #[serde(default)]
    allow_private: bool,
}

impl Checker<'_> {
    #[allow(clippy::unused_self, reason = "one of the checker's sections")]
    pub(super) fn webhooks(&mut self, raw: &RawWebhooks) -> WebhooksConfig {
        WebhooksConfig { allow_private: raw.allow_private }
    }
}
