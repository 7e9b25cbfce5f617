//! What a lane run comes to, case by case.

use std::os::unix::process::ExitStatusExt as _;

use super::*;

fn facts(is_cancelled: bool) -> Facts {
    Facts {
        is_cancelled,
        is_given_up: false,
        cancel_message: is_cancelled.then(|| "cancelled by ada".to_owned()),
        status: Some(ExitStatus::from_raw(2 << 8)),
        stderr: "error: no such target".to_owned(),
    }
}

fn record(keys: &str) -> Result<RunRecord, RunStoreError> {
    let text =
        format!(r#"{{"run_id":"20260301T142233Z-7f3a9c10","created_at":"2026-03-01T14:22:33Z",{keys}}}"#);
    Ok(serde_json::from_str(&text).unwrap())
}

fn judged(record: &Result<RunRecord, RunStoreError>, facts: &Facts) -> String {
    let Judgement { outcome, fault, message } = judge(record, facts);
    let fault = fault.as_ref().map_or("nobody", Fault::as_str);
    format!("{outcome} {fault} {}", message.as_deref().unwrap_or("-"))
}

fn missing() -> Result<RunRecord, RunStoreError> {
    Err(RunStoreError::RunMissing { run: pikaci::RunId::parse("20260301T142233Z-7f3a9c10").unwrap() })
}

#[test]
fn the_record_decides_whatever_the_process_exited_with() {
    assert_eq!(judged(&record(r#""status":"passed","outcome":"passed""#), &facts(false)), "passed nobody -");
    let timed_out = record(r#""status":"failed","outcome":"timed_out","fault":"job""#);
    assert_eq!(judged(&timed_out, &facts(false)), "timed_out job -");
    assert_eq!(
        judged(&record(r#""status":"skipped","outcome":"skipped""#), &facts(false)),
        "skipped nobody -"
    );
}

#[test]
fn no_record_is_a_fault_of_the_machinery_and_says_what_is_known() {
    assert_eq!(
        judged(&missing(), &facts(false)),
        "failed infra pikaci ended with exit status: 2 and left no record of the run: error: no such target"
    );
}

#[test]
fn a_lane_that_was_given_up_with_its_claim_is_nobodys_cancel() {
    let stopped = record(r#""status":"failed","outcome":"cancelled","fault":"user""#);
    let given_up = Facts { is_given_up: true, ..facts(false) };
    assert!(judged(&stopped, &given_up).starts_with("failed infra"));
    assert_eq!(judged(&stopped, &facts(false)), "cancelled user -");
    assert_eq!(judged(&record(r#""status":"passed","outcome":"passed""#), &given_up), "passed nobody -");
}

#[test]
fn a_stop_that_was_asked_for_is_no_fault_of_the_machinery() {
    assert_eq!(judged(&missing(), &facts(true)), "cancelled user cancelled by ada");
    let interrupted =
        record(r#""status":"failed","outcome":"failed","fault":"infra","message":"interrupted""#);
    assert_eq!(judged(&interrupted, &facts(true)), "cancelled user cancelled by ada");
    assert_eq!(judged(&interrupted, &facts(false)), "failed infra interrupted");
}

#[test]
fn what_finished_before_the_stop_took_effect_counts() {
    let failed = record(r#""status":"failed","outcome":"failed","fault":"job""#);
    assert_eq!(judged(&failed, &facts(true)), "failed job -");
    assert_eq!(judged(&record(r#""status":"passed","outcome":"passed""#), &facts(true)), "passed nobody -");
}

#[test]
fn a_word_of_a_newer_pikaci_is_not_green() {
    let unknown = record(r#""status":"evicted""#);
    assert!(judged(&unknown, &facts(false)).starts_with("failed infra the run is \"evicted\""));
}
