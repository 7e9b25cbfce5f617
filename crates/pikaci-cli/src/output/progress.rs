//! Progress on a terminal: a line for each running job, with the time since its start.
//!
//! Invariant: what happened is printed above the moving lines and stays; the moving lines are gone at the end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pikaci::record::phase;
use pikaci::{Event, JobId};

use super::{plain, print_line};

const REDRAW_EVERY: Duration = Duration::from_millis(100);
/// What a job does before its command runs.
const STARTING: &str = "starting";

/// The moving lines.
pub(crate) struct Progress {
    lines: MultiProgress,
    jobs: Mutex<HashMap<JobId, ProgressBar>>,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress { lines: MultiProgress::new(), jobs: Mutex::new(HashMap::new()) }
    }

    /// Shows an event: its line, if it has one, and what it changes of the moving lines.
    pub(crate) fn event(&self, event: &Event, line: Option<String>) {
        match event {
            Event::JobStarted { job, .. } => {
                self.start(&job.id, &plain(&job.description));
                return;
            }
            Event::PhaseFinished { job_id, phase, .. } => {
                if let Some(bar) = self.jobs().get(job_id) {
                    bar.set_prefix(match phase.phase.as_str() {
                        phase::LAUNCH_GUEST => "",
                        phase::WAIT_FOR_COMPLETION | phase::COLLECT_ARTIFACTS => "collecting",
                        _ => STARTING,
                    });
                }
            }
            Event::AttemptFailed { job_id, .. } => self.end(job_id),
            Event::JobFinished { job, .. } => self.end(&job.id),
            Event::RunStarted { .. }
            | Event::SnapshotTaken { .. }
            | Event::Planned { .. }
            | Event::PrepareFinished { .. }
            | Event::PreparedOutputsWritten { .. }
            | Event::CancelRequested { .. }
            | Event::Notice { .. }
            | Event::CleanupFailed { .. }
            | Event::RunFinished { .. }
            | Event::Unknown => {}
        }
        if let Some(line) = line {
            self.print(&line);
        }
    }

    /// Prints a line that stays.
    pub(crate) fn print(&self, line: &str) {
        self.lines.suspend(|| print_line(line));
    }

    /// Takes the moving lines away.
    pub(crate) fn clear(&self) {
        for (_, bar) in self.jobs().drain() {
            bar.finish_and_clear();
        }
        let _ = self.lines.clear();
    }

    fn start(&self, job: &JobId, description: &str) {
        let bar = self.lines.add(ProgressBar::new_spinner());
        // The template is text of this file; were it wrong, the default one would be shown.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed} {prefix:.dim}") {
            bar.set_style(style);
        }
        bar.set_prefix(STARTING);
        bar.set_message(format!("{job}: {description}"));
        bar.enable_steady_tick(REDRAW_EVERY);
        if let Some(earlier) = self.jobs().insert(job.clone(), bar) {
            earlier.finish_and_clear();
        }
    }

    fn end(&self, job: &JobId) {
        if let Some(bar) = self.jobs().remove(job) {
            bar.finish_and_clear();
            self.lines.remove(&bar);
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, ProgressBar>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
