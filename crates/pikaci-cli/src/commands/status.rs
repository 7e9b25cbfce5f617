//! `pikaci status`

use pikaci::{RunRecord, load_run_record, store};
use serde_json::json;

use super::DONE;
use crate::arguments::RunAndJson;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{Table, duration, elapsed, job_state, plain, print_json, print_line, run_state};

/// Shows where a run stands.
pub(crate) fn status(arguments: &RunAndJson, config: &Config) -> Result<u8, Failure> {
    let run = arguments.run.resolve(&config.state)?;
    let record = load_run_record(&config.state, &run)?;
    if arguments.format.json {
        print_json(&json!(record));
        return Ok(DONE);
    }
    print_line(&heading(&record));
    if let Some(holder) = store::find_lock_holder(&config.state, &run)? {
        print_line(&format!("written by {holder}"));
    }
    if !record.jobs.is_empty() {
        print_line(&jobs(&record).to_string());
    }
    Ok(DONE)
}

fn heading(run: &RunRecord) -> String {
    let mut text = format!("run {} {}", run.run_id, run_state(run));
    if let Some(target) = &run.target_id {
        text.push_str(&format!(", target {target}"));
    }
    if let Some(head) = &run.git_head {
        let dirty = if run.git_dirty == Some(true) { " with changes" } else { "" };
        text.push_str(&format!("\ncommit {}{dirty}", plain(head)));
    }
    if let Some(message) = &run.message {
        text.push_str(&format!("\n{}", plain(message)));
    }
    text
}

fn jobs(run: &RunRecord) -> Table {
    let mut table = Table::new(&["job", "state", "took", "message"]);
    for job in &run.jobs {
        let took =
            job.finished_at.map_or_else(|| "-".to_owned(), |end| duration(elapsed(job.started_at, end)));
        let message = plain(job.message.as_deref().unwrap_or_default());
        table.push(vec![job.id.to_string(), job_state(job), took, message]);
    }
    table
}
