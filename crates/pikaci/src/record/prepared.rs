//! `prepared-outputs.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SCHEMA_VERSION;
use crate::id::Digest;

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
    /// Digest of its inputs, its provider's definition and its image: what it is kept under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// Whether it was there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_hit: Option<bool>,
    /// Bytes of the output and of everything that it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure_bytes: Option<u64>,
    /// The store paths that it refers to; empty for the provider `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closure: Vec<String>,
    /// What it needs of an image to run there; `None`: nothing that it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract_id: Option<String>,
    /// Milliseconds that this run spent on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The log of its build, relative to the state root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What was wrong with it that stops nothing, such as an unreadable payload manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}
