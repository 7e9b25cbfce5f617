//! `metadata.yaml`: what Incus reads of an image, and what pikaci finds again in its properties.

use jiff::Timestamp;
use pikaci::guest::{IMAGE_CONTRACT_PROPERTY, IMAGE_CONTRACT_VERSION};
use serde_json::json;

/// What an image says of itself.
pub(super) struct Metadata {
    pub(super) architecture: &'static str,
    pub(super) created_at: Timestamp,
    pub(super) description: String,
    pub(super) os: String,
    pub(super) release: String,
    /// Which guest runner is in it.
    pub(super) runner_digest: String,
}

impl Metadata {
    /// The file's content: JSON, which is YAML, and quotes every word that YAML would take for something else.
    pub(super) fn to_yaml(&self) -> String {
        let value = json!({
            "architecture": self.architecture,
            "creation_date": self.created_at.as_second(),
            "properties": {
                "architecture": self.architecture,
                "description": self.description,
                "os": self.os,
                "release": self.release,
                IMAGE_CONTRACT_PROPERTY: IMAGE_CONTRACT_VERSION.to_string(),
                "pikaci.version": env!("CARGO_PKG_VERSION"),
                "pikaci.runner-sha256": self.runner_digest,
            },
        });
        format!("{value:#}\n")
    }
}
