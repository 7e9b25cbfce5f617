//! `prepared-outputs.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SCHEMA_VERSION;

/// What was prepared for a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreparedOutputsRecord {
    /// See [`SCHEMA_VERSION`].
    #[serde(default)]
    pub schema_version: u32,
    /// One entry a prepared output, in the order of their nodes.
    #[serde(default)]
    pub outputs: Vec<PreparedOutputRecord>,
}

impl Default for PreparedOutputsRecord {
    fn default() -> PreparedOutputsRecord {
        PreparedOutputsRecord { schema_version: SCHEMA_VERSION, outputs: Vec::new() }
    }
}

/// One prepared output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreparedOutputRecord {
    /// The node that made or found it, such as `prepared/linux-rust`.
    pub node_id: String,
    /// `nix` or `command`.
    #[serde(default)]
    pub provider: String,
    /// Where it was realised on the host.
    #[serde(default)]
    pub realised_path: String,
    /// Where guests see it.
    #[serde(default)]
    pub mount: String,
    /// The payload's own description, when it has a readable one.
    #[serde(default)]
    pub payload: Option<Value>,
}
