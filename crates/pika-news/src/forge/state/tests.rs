//! The fold of a head, case by case.

use super::*;

fn attempt(status: LaneRunStatus, outcome: Option<Outcome>, fault: Option<Fault>) -> Attempt {
    Attempt { status, outcome, fault }
}

fn finished(outcome: Outcome, fault: Option<Fault>) -> LaneState {
    lane_state(LaneKind::Selected, Some(&attempt(LaneRunStatus::Finished, Some(outcome), fault)))
}

fn selected(required: &[LaneState]) -> HeadState {
    head_state(&Selection::Selected, required.iter().copied())
}

#[test]
fn a_lane_is_judged_by_outcome_and_fault() {
    assert_eq!(finished(Outcome::Passed, None), LaneState::Passed);
    assert_eq!(finished(Outcome::Failed, Some(Fault::Job)), LaneState::Failed);
    assert_eq!(finished(Outcome::Failed, Some(Fault::Infra)), LaneState::Infra);
    assert_eq!(finished(Outcome::TimedOut, Some(Fault::Job)), LaneState::TimedOut);
    assert_eq!(finished(Outcome::Cancelled, Some(Fault::User)), LaneState::Cancelled);
    assert_eq!(finished(Outcome::Skipped, None), LaneState::Skipped);
    assert_eq!(finished(Outcome::Unknown("evicted".into()), None), LaneState::Infra);
}

#[test]
fn a_lane_that_the_changes_do_not_concern_can_still_be_run_by_hand() {
    assert_eq!(lane_state(LaneKind::NotConcerned, None), LaneState::NotConcerned);
    let passed = attempt(LaneRunStatus::Finished, Some(Outcome::Passed), None);
    assert_eq!(lane_state(LaneKind::NotConcerned, Some(&passed)), LaneState::Passed);
}

#[test]
fn a_head_is_green_only_when_every_required_lane_passed() {
    assert_eq!(selected(&[LaneState::Passed, LaneState::Passed]), HeadState::Passed);
    assert_eq!(selected(&[LaneState::Passed, LaneState::NotConcerned]), HeadState::Passed);
    assert_eq!(selected(&[LaneState::Passed, LaneState::Skipped]), HeadState::NothingRequired);
    assert_eq!(selected(&[LaneState::Passed, LaneState::Missing]), HeadState::Failed);
    assert_eq!(selected(&[LaneState::Passed, LaneState::Infra]), HeadState::Infra);
    assert_eq!(selected(&[LaneState::Passed, LaneState::Cancelled]), HeadState::Cancelled);
}

#[test]
fn a_red_lane_decides_while_others_still_run() {
    assert_eq!(selected(&[LaneState::Running, LaneState::Failed]), HeadState::Failed);
    assert_eq!(selected(&[LaneState::Queued, LaneState::Running]), HeadState::Running);
    assert_eq!(selected(&[LaneState::Queued, LaneState::Passed]), HeadState::Queued);
}

#[test]
fn zero_lanes_is_not_success() {
    assert_eq!(selected(&[]), HeadState::NothingRequired);
    assert_eq!(head_state(&Selection::NoManifest, []), HeadState::NoManifest);
}

#[test]
fn a_manifest_error_outweighs_every_lane() {
    let wrong =
        Selection::ManifestError { message: "pikaci.toml:1:1: …".into(), line: Some(1), column: Some(1) };
    assert_eq!(head_state(&wrong, [LaneState::Passed]), HeadState::ManifestError);
}

#[test]
fn a_manifest_that_was_removed_does_not_remove_what_is_required() {
    assert_eq!(head_state(&Selection::NoManifest, [LaneState::Missing]), HeadState::Failed);
}
