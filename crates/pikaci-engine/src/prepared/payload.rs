//! What an output says of itself.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use pikaci::store::open_in_run_beneath;
use serde_json::Value;

use super::PAYLOAD_MANIFEST;

const BYTES_MAX: u64 = 1 << 20;
const VERSION: u64 = 1;

/// What was read, best effort.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Payload {
    pub(super) value: Option<Value>,
    /// What it needs of an image to run there.
    pub(super) contract_id: Option<String>,
    pub(super) warning: Option<String>,
}

/// Reads the payload manifest of an output. One that is not there is no fault; one that can't be read is a warning.
pub(super) fn read(output: &Path) -> Payload {
    let warned = |reason: String| Payload {
        warning: Some(format!("{PAYLOAD_MANIFEST} is not used: {reason}")),
        ..Payload::default()
    };
    let file = match open_in_run_beneath(output, Path::new(PAYLOAD_MANIFEST)) {
        Ok(Some(file)) => file,
        Ok(None) => return Payload::default(),
        Err(error) => return warned(error.to_string()),
    };
    let mut content = Vec::new();
    if let Err(error) = file.take(BYTES_MAX + 1).read_to_end(&mut content) {
        return warned(error.to_string());
    }
    if content.len() as u64 > BYTES_MAX {
        return warned(format!("it is larger than {BYTES_MAX} bytes"));
    }
    let value: Value = match serde_json::from_slice(&content) {
        Ok(value) => value,
        Err(error) => return warned(error.to_string()),
    };
    match value.get("schema_version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(version) => {
            return warned(format!("it is of version {version}, and this pikaci reads {VERSION}"));
        }
        None => return warned("it has no schema_version".to_owned()),
    }
    if let Some(reason) = fault(&value) {
        return warned(reason);
    }
    let contract_id = value.get("contract_id").and_then(Value::as_str).map(str::to_owned);
    Payload { contract_id, value: Some(value), warning: None }
}

/// What is against its entries: who reads them goes by their names and paths.
fn fault(manifest: &Value) -> Option<String> {
    let entries = match manifest.get("entries") {
        None => return None,
        Some(entries) => entries.as_array(),
    };
    let Some(entries) = entries else { return Some("its entries are no list".to_owned()) };
    let mut names = BTreeSet::new();
    for entry in entries {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let (Some(name), Some(path), Some(_)) = (text("name"), text("path"), text("kind")) else {
            return Some("an entry has no name, path or kind".to_owned());
        };
        if !names.insert(name) {
            return Some(format!("two entries are called {name:?}"));
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Some(format!("the path {path:?} of an entry does not stay within the output"));
        }
    }
    None
}
