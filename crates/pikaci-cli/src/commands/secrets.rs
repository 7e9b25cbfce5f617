//! Reads the secrets that a run is given: from files, or from whoever started it. Never from arguments or environment,
//! which others can read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pikaci_engine::Secrets;
use pikaci_engine::secrets::SECRETS_BYTES_MAX;

use crate::arguments::Execution;
use crate::failure::Failure;

/// Base64 and names around the content.
const STDIN_BYTES_MAX: u64 = 4 * SECRETS_BYTES_MAX as u64;

/// Reads what the arguments name; relative files start at `folder`.
pub(super) fn read(execution: &Execution, folder: &Path) -> Result<Secrets, Failure> {
    let mut secrets = BTreeMap::new();
    if execution.secrets_stdin {
        secrets = from_standard_input().map_err(Failure::usage_text)?;
    }
    for (name, file) in &execution.secrets {
        let path = folder.join(file);
        let mut content = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(SECRETS_BYTES_MAX as u64 + 1).read_to_end(&mut content))
            .map_err(|error| {
                Failure::usage_text(format!("cannot read the secret {name} from {}: {error}", path.display()))
            })?;
        if secrets.insert(name.clone(), content).is_some() {
            return Err(Failure::usage_text(format!("the secret {name} is given twice")));
        }
    }
    Secrets::new(secrets).map_err(Failure::usage)
}

fn from_standard_input() -> Result<BTreeMap<String, Vec<u8>>, String> {
    let unreadable = |why: &dyn std::fmt::Display| format!("cannot read secrets from standard input: {why}");
    let mut text = String::new();
    io::stdin().lock().take(STDIN_BYTES_MAX).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    let encoded: BTreeMap<String, String> =
        // The parser's own words quote what it reads.
        serde_json::from_str(&text).map_err(|_| unreadable(&"it is no JSON object of texts"))?;
    let decode = |(name, value): (String, String)| match STANDARD.decode(value) {
        Ok(content) => Ok((name, content)),
        Err(_) => Err(unreadable(&format!("{name} is not base64"))),
    };
    encoded.into_iter().map(decode).collect()
}
