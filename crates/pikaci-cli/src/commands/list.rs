//! `pikaci list`

use pikaci::{RunRecord, store};
use serde_json::json;

use super::DONE;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{Table, duration, elapsed, plain, print_json, print_line, run_state};

/// Lists the runs, newest first. One that cannot be read is listed with the reason.
pub(crate) fn list(is_json: bool, config: &Config) -> Result<u8, Failure> {
    let runs = store::list_run_records(&config.state)?;
    if is_json {
        let values = runs.map(|(run, record)| match record {
            Ok(record) => json!(record),
            Err(error) => json!({ "run_id": run, "error": error.to_string() }),
        });
        print_json(&values.collect());
        return Ok(DONE);
    }
    let mut table = Table::new(&["run", "state", "target", "jobs", "took"]);
    let mut is_empty = true;
    for (run, record) in runs {
        is_empty = false;
        table.push(match record {
            Ok(record) => row(&record),
            Err(error) => vec![run.to_string(), format!("unreadable: {}", plain(&error.to_string()))],
        });
    }
    let place = config.state.path().display();
    match is_empty {
        true => print_line(&format!("no runs in {place}; start one with `pikaci run`")),
        false => print_line(&table.to_string()),
    }
    Ok(DONE)
}

fn row(run: &RunRecord) -> Vec<String> {
    let target = run.target_id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let took = run.finished_at.map_or_else(|| "-".to_owned(), |end| duration(elapsed(run.created_at, end)));
    vec![run.run_id.to_string(), run_state(run), target, run.jobs.len().to_string(), took]
}
