//! Times, sizes and outcomes in words.

use jiff::Timestamp;
use pikaci::record::phase;
use pikaci::{Fault, JobRecord, JobStatus, Outcome, RunRecord, RunStatus};

/// A text of one line that moves no cursor.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

/// Milliseconds as people say them.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..10 => format!("{}.{:02} s", seconds, milliseconds % 1000 / 10),
        10..60 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Milliseconds from one time to another; 0 when the clock was set back between them.
pub(crate) fn elapsed(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0)
}

/// Bytes as people say them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), "B");
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

/// Where a run stands, in a word or two.
pub(crate) fn run_state(run: &RunRecord) -> String {
    match (&run.status, &run.outcome) {
        (RunStatus::Running, _) => "running".to_owned(),
        (_, Some(outcome)) => ended(outcome, run.fault.as_ref(), None),
        (status, None) => plain(status.as_str()),
    }
}

/// Where a job stands, in a word or two.
pub(crate) fn job_state(job: &JobRecord) -> String {
    match (&job.status, &job.outcome) {
        (JobStatus::Running, _) => "running".to_owned(),
        (_, Some(outcome)) => ended(outcome, job.fault.as_ref(), job.exit_code),
        (status, None) => plain(status.as_str()),
    }
}

/// What a phase is called in a table's heading. A name that a newer version gave is shown as it is.
pub(crate) fn phase_heading(name: &str) -> String {
    match name {
        phase::PREPARE_DIRECTORIES => "folders".to_owned(),
        phase::STAGE_WORKSPACE_SNAPSHOT => "snapshot".to_owned(),
        phase::PREPARE_RUNTIME => "runtime".to_owned(),
        phase::LAUNCH_GUEST => "launch".to_owned(),
        phase::WAIT_FOR_COMPLETION => "command".to_owned(),
        phase::COLLECT_ARTIFACTS => "collect".to_owned(),
        name => plain(name).replace('_', " "),
    }
}

/// How something ended, and whose fault it was if that is not plain from the outcome.
pub(crate) fn ended(outcome: &Outcome, fault: Option<&Fault>, exit_code: Option<i32>) -> String {
    match (outcome, fault, exit_code) {
        (Outcome::Failed, Some(Fault::Infra), _) => "failed (infrastructure)".to_owned(),
        (Outcome::Failed, _, Some(code)) => format!("failed (exit code {code})"),
        (Outcome::TimedOut, _, _) => "timed out".to_owned(),
        (outcome, _, _) => plain(outcome.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits_that_matter() {
        let shown = [0, 1234, 12_345, 61_000, 3_660_000].map(duration);
        assert_eq!(shown, ["0 ms", "1.23 s", "12.3 s", "1 min 01 s", "1 h 01 min"]);
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_fits() {
        let shown = [0, 1023, 1024, 1536, 5 * 1024 * 1024, u64::MAX].map(size);
        assert_eq!(shown[..5], ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB"]);
        assert!(shown[5].ends_with("TiB"), "{}", shown[5]);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\nc"), "a [31mb c");
    }
}
