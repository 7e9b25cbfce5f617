//! Gathers what the JUnit reports of a job say.
//!
//! Invariants: links are not followed; folders, files and bytes are bounded, whatever the guest left behind.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::TestSummary;
use crate::id::{JobId, RunId};
use crate::junit::{JUNIT_BYTES_MAX, parse_junit};
use crate::manifest::PathFilter;
use crate::store::{StateRoot, StoreError, guest_log_path, open_in_run};

/// The most failed tests that are named.
const FAILURES_MAX: usize = 20;
/// The most bytes that are kept of what one of them said.
const DETAILS_BYTES_MAX: usize = 1024;
/// The most reports that are read.
const REPORTS_MAX: usize = 64;
/// The most bytes of all reports together.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most files and folders that are looked at.
const ENTRIES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 16;
const PROBLEMS_MAX: usize = 10;

/// Reads the reports that match the patterns, in the order of their names.
pub(super) fn summary(
    state: &StateRoot,
    run: &RunId,
    job: &JobId,
    patterns: &[String],
) -> Result<TestSummary, StoreError> {
    let mut summary = TestSummary::default();
    let filter = match PathFilter::new(patterns) {
        Ok(filter) => filter,
        Err(error) => {
            summary.problems.push(format!("the plan's patterns for reports are not usable: {error}"));
            return Ok(summary);
        }
    };
    let mut rest_bytes = BYTES_MAX;
    for report in find(&state.artifacts_dir(run, job), &filter, &mut summary) {
        match read(state, run, job, &report, &mut rest_bytes)? {
            Ok(bytes) => add(&mut summary, &report, &bytes),
            Err(problem) => summary.note(format!("{}: {problem}", report.display())),
        }
    }
    if summary.reports == 0 && summary.problems.is_empty() {
        summary.note(format!("the job left no report that matches {}", patterns.join(", ")));
    }
    Ok(summary)
}

fn add(summary: &mut TestSummary, report: &Path, bytes: &[u8]) {
    let read = match parse_junit(bytes) {
        Ok(read) => read,
        Err(error) => return summary.note(format!("{}: {error}", report.display())),
    };
    summary.reports += 1;
    summary.tests += read.tests;
    summary.failed += read.failed;
    if let Some(reason) = read.incomplete {
        summary.note(format!("{}: {reason}; what comes before counts", report.display()));
    }
    let rest = FAILURES_MAX.saturating_sub(summary.failures.len());
    summary.failures.extend(read.failures.into_iter().take(rest).map(|mut test| {
        let mut end = test.details.len().min(DETAILS_BYTES_MAX);
        while !test.details.is_char_boundary(end) {
            end -= 1;
        }
        test.details.truncate(end);
        test
    }));
}

/// Finds the files below a folder that match, by their paths relative to it.
fn find(folder: &Path, filter: &PathFilter, summary: &mut TestSummary) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // A job without a sandbox can put a link in the place of its own folder.
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let mut open = match folder.parent() {
        Some(parent) if is_folder(parent) && is_folder(folder) => vec![(PathBuf::new(), 0)],
        Some(_) | None => Vec::new(),
    };
    let mut entries_rest = ENTRIES_MAX;
    while let Some((relative, depth)) = open.pop() {
        // A folder that is gone, or that cannot be read, holds no report.
        let Ok(entries) = fs::read_dir(folder.join(&relative)) else { continue };
        for entry in entries.flatten() {
            if entries_rest == 0 {
                summary
                    .note(format!("the job left more than {ENTRIES_MAX} files; only these were looked at"));
                open.clear();
                break;
            }
            entries_rest -= 1;
            let path = relative.join(entry.file_name());
            // Of the entry itself: a link is neither.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => open.push((path, depth + 1)),
                Ok(kind) if kind.is_file() && filter.matches(&[&path]) => found.push(path),
                Ok(_) | Err(_) => {}
            }
        }
    }
    found.sort();
    if found.len() > REPORTS_MAX {
        summary.note(format!("the job left {} reports; the first {REPORTS_MAX} were read", found.len()));
        found.truncate(REPORTS_MAX);
    }
    found
}

/// Reads one report. The inner error is what to tell about it.
fn read(
    state: &StateRoot,
    run: &RunId,
    job: &JobId,
    report: &Path,
    rest_bytes: &mut usize,
) -> Result<Result<Vec<u8>, String>, StoreError> {
    let log = PathBuf::from(guest_log_path(job));
    let Some(file) = open_in_run(state, run, &log.with_file_name("").join(report))? else {
        return Ok(Err("it is no regular file any more".to_owned()));
    };
    // One byte more than is allowed, so that the parser sees that it is too large.
    let limit = JUNIT_BYTES_MAX + 1;
    if *rest_bytes < limit {
        return Ok(Err(format!("not read: the reports have more than {BYTES_MAX} bytes together")));
    }
    let mut bytes = Vec::new();
    if let Err(error) = file.take(limit as u64).read_to_end(&mut bytes) {
        return Ok(Err(error.to_string()));
    }
    *rest_bytes -= bytes.len();
    Ok(Ok(bytes))
}

impl TestSummary {
    fn note(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}
