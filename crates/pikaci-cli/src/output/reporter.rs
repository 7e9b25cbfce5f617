//! Tells whoever started a run how it goes: lines or moving progress for people, events or the record for programs.
//!
//! Invariant: in the formats for programs, standard output holds JSON and nothing else.

use std::collections::BTreeMap;

use pikaci::{Event, JobRecord, RunRecord, RunStatus, StateRoot};

use super::progress::Progress;
use super::{
    Table, duration, elapsed, job_state, phase_heading, plain, print_bytes, print_line, run_state, size,
};
use crate::arguments::Format;

/// Shows one run.
pub(crate) enum Reporter {
    /// A line for each thing that happened.
    Lines,
    /// A line for each job, rewritten while it runs; what happened, above them.
    Terminal(Box<Progress>),
    /// Nothing until the end.
    Record,
    /// Events as they happen.
    Events,
}

impl Reporter {
    /// Chooses how to show a run.
    pub(crate) fn new(format: Format, is_terminal: bool) -> Reporter {
        match (format, is_terminal) {
            (Format::Human, true) => Reporter::Terminal(Box::new(Progress::new())),
            (Format::Human, false) => Reporter::Lines,
            (Format::Json, _) => Reporter::Record,
            (Format::Jsonl, _) => Reporter::Events,
        }
    }

    /// Shows that something happened.
    pub(crate) fn event(&self, event: &Event) {
        match self {
            Reporter::Lines => {
                if let Some(line) = line(event) {
                    print_line(&line);
                }
            }
            Reporter::Terminal(progress) => progress.event(event, line(event)),
            Reporter::Record => {}
            Reporter::Events => {
                if let Ok(mut text) = serde_json::to_vec(event) {
                    text.push(b'\n');
                    let _ = print_bytes(&text);
                }
            }
        }
    }

    /// Shows how the run ended.
    pub(crate) fn finish(&self, state: &StateRoot, run: &RunRecord) {
        match self {
            Reporter::Events => {}
            Reporter::Record => {
                if let Ok(text) = serde_json::to_string(run) {
                    print_line(&text);
                }
            }
            Reporter::Lines | Reporter::Terminal(_) => {
                if let Reporter::Terminal(progress) = self {
                    progress.clear();
                }
                print_summary(state, run);
            }
        }
    }
}

/// What happened, in a line; `None` for what only programs care about.
fn line(event: &Event) -> Option<String> {
    match event {
        Event::RunStarted { run_id, target_id, rerun_of, .. } => {
            let target = target_id.as_ref().map_or_else(String::new, |target| format!(", target {target}"));
            let again = rerun_of.as_ref().map_or_else(String::new, |first| format!(", again after {first}"));
            Some(format!("run {run_id}{target}{again}"))
        }
        Event::SnapshotTaken { files, files_copied, bytes_copied, duration_ms, .. } => Some(format!(
            "snapshot: {files} files, {files_copied} copied ({}), {}",
            size(*bytes_copied),
            duration(*duration_ms)
        )),
        Event::PrepareFinished { timing, .. } => {
            Some(format!("{}: prepared, {}", plain(&timing.node_id), duration(timing.duration_ms)))
        }
        Event::JobStarted { job, .. } => Some(format!("{}: {}", job.id, plain(&job.description))),
        Event::AttemptFailed { job_id, attempt, retry_in_ms, .. } => Some(format!(
            "{job_id}: attempt {} failed by infrastructure{}; the next one in {}",
            attempt.number,
            reason(attempt.message.as_deref()),
            duration(*retry_in_ms)
        )),
        Event::JobFinished { job, .. } => Some(finished(job)),
        Event::CancelRequested { reason, .. } => Some(format!("cancelling: {}", plain(reason))),
        Event::Notice { message, .. } => Some(format!("note: {}", plain(message))),
        Event::CleanupFailed { job_id, message, .. } => {
            Some(format!("{job_id}: clean-up failed: {}", plain(message)))
        }
        Event::Planned { .. }
        | Event::PreparedOutputsWritten { .. }
        | Event::PhaseFinished { .. }
        | Event::RunFinished { .. }
        | Event::Unknown => None,
    }
}

fn finished(job: &JobRecord) -> String {
    let took = job.finished_at.map_or(0, |end| elapsed(job.started_at, end));
    let state = job_state(job);
    format!("{}: {state}, {}{}", job.id, duration(took), reason(job.message.as_deref()))
}

fn reason(message: Option<&str>) -> String {
    message.map_or_else(String::new, |message| format!(": {}", plain(message)))
}

/// The times of all phases, why the run did not pass, and how it ended.
fn print_summary(state: &StateRoot, run: &RunRecord) {
    if let Some(table) = phase_table(run) {
        print_line(&format!("\n{table}"));
    }
    let took = run.finished_at.map_or(0, |end| elapsed(run.created_at, end));
    match run.status {
        RunStatus::Passed | RunStatus::Skipped => {
            let why = reason(run.message.as_deref());
            print_line(&format!("\nrun {} {}, {}{why}", run.run_id, run_state(run), duration(took)));
        }
        RunStatus::Failed | RunStatus::Running | RunStatus::Unknown(_) => {
            match pikaci::explain(state, &run.run_id) {
                Ok(why) => print_line(&format!("\n{why}")),
                Err(_) => print_line(&format!("\nrun {} {}, {}", run.run_id, run_state(run), duration(took))),
            }
        }
    }
}

/// How long each phase of each job took; `None` when none was recorded.
fn phase_table(run: &RunRecord) -> Option<Table> {
    let mut names: Vec<&str> = Vec::new();
    let phases = |job: &JobRecord| -> BTreeMap<String, u64> {
        let execution = job.remote_linux_vm_execution.iter().flat_map(|execution| &execution.phases);
        let mut sums = BTreeMap::new();
        for phase in execution {
            *sums.entry(phase.phase.clone()).or_insert(0) += phase.duration_ms;
        }
        sums
    };
    for job in &run.jobs {
        let execution = job.remote_linux_vm_execution.iter().flat_map(|execution| &execution.phases);
        for phase in execution {
            if !names.contains(&phase.phase.as_str()) {
                names.push(&phase.phase);
            }
        }
    }
    if names.is_empty() {
        return None;
    }
    let headings: Vec<String> = names.iter().map(|name| phase_heading(name)).collect();
    let mut all = vec!["job", "state", "total"];
    all.extend(headings.iter().map(String::as_str));
    let mut table = Table::new(&all);
    for job in &run.jobs {
        let took = job.finished_at.map_or(0, |end| elapsed(job.started_at, end));
        let sums = phases(job);
        let mut cells = vec![job.id.to_string(), job_state(job), duration(took)];
        let cell = |name: &&str| sums.get(*name).map_or_else(|| "-".to_owned(), |&sum| duration(sum));
        cells.extend(names.iter().map(cell));
        table.push(cells);
    }
    Some(table)
}
