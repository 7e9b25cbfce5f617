//! Writes an explanation for people.

use std::fmt;

use super::{FailedJob, LogExcerpt, TestSummary, Why};
use crate::escapes::{plain_line, plain_text};
use crate::job::JobCommand;
use crate::record::{Fault, Outcome, RunStatus};

/// The most lines that are shown of what a test said.
const DETAIL_LINES_MAX: usize = 6;

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "run {} {}", self.run_id, state(self))?;
        if let Some(target) = &self.target_id {
            write!(formatter, ", target {target}")?;
        }
        if let Some(message) = &self.message {
            write!(formatter, "\n  {}", indented(message))?;
        }
        let Some(job) = &self.job else {
            return match &self.status {
                RunStatus::Running => formatter.write_str("\nno job has failed so far"),
                RunStatus::Passed | RunStatus::Skipped => {
                    formatter.write_str("\nthere is nothing to explain")
                }
                RunStatus::Failed | RunStatus::Unknown(_) => formatter.write_str("\nno job failed"),
            };
        };
        write_job(formatter, job)?;
        if self.others_failed > 0 {
            let names: Vec<String> = self.others.iter().map(|other| other.id.to_string()).collect();
            let more = self.others_failed - names.len();
            write!(formatter, "\n\nalso failed: {}", names.join(", "))?;
            if more > 0 {
                write!(formatter, " and {more} more")?;
            }
        }
        if self.skipped > 0 {
            write!(formatter, "\n\nskipped jobs: {}", self.skipped)?;
        }
        write!(formatter, "\n\nto see it again: {}", job.reproduce)
    }
}

fn state(why: &Why) -> String {
    match (&why.outcome, &why.fault) {
        (Some(outcome), fault) => ended(outcome, fault.as_ref()),
        (None, _) => match &why.status {
            RunStatus::Running => "is running".to_owned(),
            status => status.to_string(),
        },
    }
}

/// How something ended and whose fault it was, in words.
fn ended(outcome: &Outcome, fault: Option<&Fault>) -> String {
    match (outcome, fault) {
        (Outcome::Failed, Some(Fault::Infra)) => "failed, not by the fault of the tested code".to_owned(),
        (Outcome::TimedOut, _) => "timed out".to_owned(),
        (Outcome::Cancelled, _) => "was cancelled".to_owned(),
        (Outcome::Skipped, _) => "was skipped".to_owned(),
        (outcome, _) => plain_line(outcome.as_str()),
    }
}

fn write_job(formatter: &mut fmt::Formatter<'_>, job: &FailedJob) -> fmt::Result {
    write!(formatter, "\n\njob {}", job.id)?;
    match &job.outcome {
        Some(Outcome::TimedOut) => write!(formatter, " timed out after {} s", job.timeout_secs)?,
        Some(outcome) => write!(formatter, " {}", ended(outcome, job.fault.as_ref()))?,
        None => formatter.write_str(" failed")?,
    }
    if job.fault == Some(Fault::Job) {
        formatter.write_str(", the fault of the tested code")?;
    }
    match job.exit_code {
        Some(code @ 129..=192) => write!(formatter, ", exit code {code} (as after signal {})", code - 128)?,
        Some(code) => write!(formatter, ", exit code {code}")?,
        None => {}
    }
    if job.attempts > 1 {
        write!(formatter, ", attempt {}", job.attempts)?;
    }
    let command = job.command.as_ref().map_or_else(|| job.description.clone(), JobCommand::summary);
    write!(formatter, "\n  {}", plain_line(&command))?;
    if let Some(message) = &job.message {
        write!(formatter, "\n  {}", indented(message))?;
    }
    if let Some(tests) = &job.tests {
        write_tests(formatter, tests)?;
    }
    if let Some(log) = &job.log {
        write_log(formatter, log)?;
    }
    Ok(())
}

fn write_tests(formatter: &mut fmt::Formatter<'_>, summary: &TestSummary) -> fmt::Result {
    write!(formatter, "\n\n{} of {} tests failed", summary.failed, summary.tests)?;
    for test in &summary.failures {
        let place = match (&test.file, test.line) {
            (Some(file), Some(line)) => format!(" ({file}:{line})"),
            (Some(file), None) => format!(" ({file})"),
            (None, _) => String::new(),
        };
        write!(formatter, "\n  {} {}{place}", test.suite, test.name)?;
        if !test.message.is_empty() {
            write!(formatter, "\n      {}", test.message)?;
        }
        let details =
            test.details.lines().filter(|line| !line.trim().is_empty() && line.trim() != test.message);
        for line in details.take(DETAIL_LINES_MAX) {
            write!(formatter, "\n      {line}")?;
        }
    }
    let hidden = summary.failed.saturating_sub(summary.failures.len() as u64);
    if hidden > 0 {
        write!(formatter, "\n  and {hidden} more")?;
    }
    for problem in &summary.problems {
        write!(formatter, "\n  {}", plain_line(problem))?;
    }
    Ok(())
}

fn write_log(formatter: &mut fmt::Formatter<'_>, log: &LogExcerpt) -> fmt::Result {
    write!(formatter, "\n\n{} ({} bytes)", log.path, log.total_bytes)?;
    let width = log.total_bytes.to_string().len();
    let mut next_offset = 0;
    for line in &log.lines {
        if line.offset > next_offset {
            write!(formatter, "\n  {:>width$} ┆", "")?;
        }
        let mark = if line.is_cut { " …" } else { "" };
        write!(formatter, "\n  {:>width$} │ {}{mark}", line.offset, line.text)?;
        next_offset = line.offset + line.bytes;
    }
    Ok(())
}

fn indented(text: &str) -> String {
    plain_text(text.trim()).replace('\n', "\n  ")
}
