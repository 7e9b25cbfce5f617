//! `pikaci why`

use pikaci::explain;
use serde_json::json;

use super::DONE;
use crate::arguments::RunAndJson;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{print_json, print_line};

/// Explains why a run did not pass.
pub(crate) fn why(arguments: &RunAndJson, config: &Config) -> Result<u8, Failure> {
    let run = arguments.run.resolve(&config.state)?;
    let why = explain(&config.state, &run)?;
    match arguments.format.json {
        true => print_json(&json!(why)),
        false => print_line(&why.to_string()),
    }
    Ok(DONE)
}
