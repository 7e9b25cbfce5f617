//! `pikaci prepared-outputs`

use pikaci::load_prepared_outputs_record;
use serde_json::json;

use super::DONE;
use crate::arguments::RunAndJson;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{plain, print_json, print_line};

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
        print_line(&plain(&json!(output).to_string()));
    }
    Ok(DONE)
}
