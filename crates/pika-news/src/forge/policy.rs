//! Who may be merged: one pure function, used by page, API and merge alike.

use super::state::{BranchState, HeadState, LaneState};
use super::view::{LaneView, MergeReadiness};

/// What the decision rests on.
pub(super) struct Candidate<'a> {
    pub(super) is_default: bool,
    pub(super) branch: BranchState,
    pub(super) is_orphan: bool,
    pub(super) head: HeadState,
    pub(super) lanes: &'a [LaneView],
    /// Whether the configuration lets a repository without manifest merge.
    pub(super) merge_without_manifest: bool,
}

/// Decides whether a branch can be merged, conflicts aside.
pub(super) fn merge_readiness(candidate: &Candidate<'_>) -> MergeReadiness {
    let reason = refusal(candidate);
    MergeReadiness { is_ready: reason.is_none(), reason }
}

fn refusal(candidate: &Candidate<'_>) -> Option<String> {
    if candidate.is_default {
        return Some("this is the branch that the others are merged into".to_owned());
    }
    match candidate.branch {
        BranchState::Open => {}
        BranchState::Merged => return Some("it is merged already".to_owned()),
        BranchState::Closed => return Some("it is closed; reopen it, or push to it".to_owned()),
        BranchState::Deleted => return Some("it is gone from git; push it again".to_owned()),
    }
    if candidate.is_orphan {
        return Some("it shares no history with its target; rebase it onto the target".to_owned());
    }
    match candidate.head {
        HeadState::Passed => None,
        // Path filters of the default branch's own manifest may leave nothing to run, as for a change of the docs.
        HeadState::NothingRequired if has_only_unconcerned(candidate.lanes) => None,
        HeadState::NothingRequired => {
            Some("no required lane has passed; mark a target that ran as required, or rerun it".to_owned())
        }
        HeadState::NoManifest if candidate.merge_without_manifest => None,
        HeadState::NoManifest => Some(
            "nothing was tested: add a pikaci.toml (`pikaci init` writes one), or let the repository merge without (merge_without_manifest)".to_owned(),
        ),
        HeadState::ManifestError => Some("its pikaci.toml is wrong; mend it and push again".to_owned()),
        HeadState::Queued | HeadState::Running => Some(format!("{} not finished", named(candidate.lanes))),
        HeadState::Failed => Some(format!("{} did not pass", named(candidate.lanes))),
        HeadState::Cancelled => Some(format!("{} was cancelled; rerun it", named(candidate.lanes))),
        HeadState::Infra => Some(format!("{} was lost to a fault of the machinery; rerun it", named(candidate.lanes))),
    }
}

/// Whether there are required lanes, and the changes concern none of them.
fn has_only_unconcerned(lanes: &[LaneView]) -> bool {
    let mut required = lanes.iter().filter(|lane| lane.is_required).peekable();
    required.peek().is_some() && required.all(|lane| lane.state == LaneState::NotConcerned)
}

/// Names the required lanes that are not green.
fn named(lanes: &[LaneView]) -> String {
    let is_open = |lane: &&LaneView| {
        lane.is_required && !matches!(lane.state, LaneState::Passed | LaneState::NotConcerned)
    };
    let names: Vec<&str> = lanes.iter().filter(is_open).map(|lane| lane.target.as_str()).collect();
    match names.as_slice() {
        [name] => format!("the lane {name} is required and"),
        names => format!("the lanes {} are required; one or more", names.join(", ")),
    }
}
