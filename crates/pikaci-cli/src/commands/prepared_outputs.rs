//! `pikaci prepared-outputs`

use pikaci::load_prepared_outputs_record;
use serde_json::json;

use super::DONE;
use crate::arguments::RunAndJson;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{plain, print_json, print_line, size};

/// Shows what was prepared for a run.
pub(crate) fn prepared_outputs(arguments: &RunAndJson, config: &Config) -> Result<u8, Failure> {
    let run = arguments.run.resolve(&config.state)?;
    let record = load_prepared_outputs_record(&config.state, &run)?;
    if arguments.format.json {
        print_json(&json!(record));
        return Ok(DONE);
    }
    let outputs = record.map(|record| record.outputs).unwrap_or_default();
    if outputs.is_empty() {
        print_line(&format!("nothing was prepared for run {run}"));
    }
    for output in outputs {
        let how = if output.is_hit == Some(true) { "found" } else { "built" };
        let bytes = output.closure_bytes.map_or_else(|| "?".to_owned(), size);
        let took = output.duration_ms.map_or_else(String::new, |took| format!(", in {took} ms"));
        print_line(&format!(
            "{} by {}: {how}{took}, {bytes}",
            plain(&output.node_id),
            plain(&output.provider)
        ));
        print_line(&format!("  {} at {}", plain(&output.realised_path), plain(&output.mount)));
        if let Some(warning) = &output.warning {
            print_line(&format!("  {}", plain(warning)));
        }
    }
    Ok(DONE)
}
