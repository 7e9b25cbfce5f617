//! What the forge's API answers, as far as a client acts on it.
//!
//! Invariants: words are texts, for a newer forge may have new ones; what is not named here is carried along, so that what is
//! printed as JSON is what the forge said.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

macro_rules! answers {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $about:literal])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub struct $name {
            $($(#[doc = $about])* pub $field: $kind,)*
            /// What else the forge said.
            #[serde(flatten)]
            pub more: Map<String, Value>,
        }
    )*};
}

answers! {
    /// Who a token makes its bearer.
    WhoAmI {
        /// The user.
        user: String,
        /// What the token may be used for.
        scopes: Vec<String>,
        /// Whether they administer the forge.
        is_admin: bool,
    }
    /// A repository.
    Repository {
        /// Its name.
        name: String,
        /// The branch that the others are merged into.
        default_branch: String,
    }
    /// A branch in a list.
    BranchRow {
        /// Its number.
        id: i64,
        /// Its repository.
        repository: String,
        /// Its name.
        name: String,
        /// Where it stands: `open`, `merged`, `closed`, `deleted`.
        state: String,
        /// Its head.
        head_oid: String,
        /// The first line of the head's message.
        subject: String,
        /// Where the head stands.
        head_state: String,
        /// The head's lanes.
        lanes: Vec<LaneBadge>,
        /// When it last changed.
        updated_at_ms: i64,
    }
    /// A lane in a list of branches.
    LaneBadge {
        /// The target's id.
        target: String,
        /// Whether a merge needs it.
        is_required: bool,
        /// Where it stands.
        state: String,
        /// Its latest attempt.
        lane_run: Option<i64>,
    }
    /// A branch.
    Branch {
        /// What a list shows of it.
        row: BranchRow,
        /// The branch that it would be merged into.
        merge_target: String,
        /// The head that it points at.
        head: Head,
        /// Its earlier heads, the latest first.
        earlier_heads: Vec<HeadRow>,
        /// Whether it can be merged now.
        merge: MergeReadiness,
        /// The commit that merged it.
        merge_oid: Option<String>,
    }
    /// A head.
    Head {
        /// The commit.
        oid: String,
        /// The first line of its message.
        subject: String,
        /// What was read from its manifest.
        selection: Selection,
        /// Where it stands.
        state: String,
        /// Its lanes.
        lanes: Vec<Lane>,
    }
    /// What was read from a manifest.
    Selection {
        /// `selected`, `no_manifest`, `manifest_error`.
        kind: String,
        /// What is wrong with it.
        message: Option<String>,
    }
    /// An earlier head.
    HeadRow {
        /// The commit.
        oid: String,
        /// Where it stands.
        state: String,
    }
    /// Whether a branch can be merged.
    MergeReadiness {
        /// Whether it can.
        is_ready: bool,
        /// Why not.
        reason: Option<String>,
    }
    /// A lane.
    Lane {
        /// The target's id.
        target: String,
        /// The target's title.
        title: String,
        /// Whether a merge needs it.
        is_required: bool,
        /// Where it stands.
        state: String,
        /// Why it waits, or what a reader should know of its end.
        reason: Option<String>,
        /// Its attempts, the latest first.
        attempts: Vec<LaneRun>,
    }
    /// An attempt at a lane.
    LaneRun {
        /// Its number.
        id: i64,
        /// From 1.
        attempt: u32,
        /// `queued`, `running`, `finished`.
        status: String,
        /// How it ended.
        outcome: Option<String>,
        /// Whose fault it was.
        fault: Option<String>,
        /// What a reader should know beyond that.
        message: Option<String>,
        /// Why it waits.
        waits: Option<String>,
        /// The run of `pikaci`, once it is claimed.
        run_id: Option<String>,
        /// When it was claimed.
        started_at_ms: Option<i64>,
        /// When its outcome was stored.
        finished_at_ms: Option<i64>,
    }
    /// An attempt at a lane, with where it belongs.
    LaneRunDetail {
        /// Its repository.
        repository: String,
        /// Its branch.
        branch_id: i64,
        /// That branch's name.
        branch_name: String,
        /// The commit that it tests.
        head_oid: String,
        /// The lane.
        lane: Lane,
        /// The attempt.
        run: LaneRun,
    }
    /// Why an attempt did not pass.
    LaneRunWhy {
        /// The attempt.
        lane_run_id: i64,
        /// The target.
        target: String,
        /// The explanation, for people.
        text: String,
    }
    /// A lane run that is not finished.
    QueueRow {
        /// Its number.
        id: i64,
        /// Its repository.
        repository: String,
        /// Its branch's name.
        branch: String,
        /// The commit that it tests.
        head_oid: String,
        /// The lane's target.
        lane: String,
        /// `queued` or `running`.
        status: String,
        /// Why it waits.
        waits: Option<String>,
        /// Since when it is there.
        queued_at_ms: i64,
        /// When it was claimed.
        started_at_ms: Option<i64>,
    }
    /// A merge that was done.
    Merged {
        /// The commit of it.
        oid: String,
        /// The branch that it is on now.
        target: String,
    }
    /// An attempt that was queued.
    Queued {
        /// The attempt.
        lane_run_id: i64,
    }
}

/// Branches of a repository.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BranchList {
    /// The branches.
    pub rows: Vec<BranchRow>,
    /// Whether there are more.
    pub has_more: bool,
}

/// What waits and what runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Queue {
    /// The lane runs, the oldest first.
    pub items: Vec<QueueRow>,
    /// Where those that follow begin; `None` when there are none.
    pub next: Option<String>,
}

/// What came of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadEnd {
    /// Every required lane passed.
    Passed,
    /// A required lane failed or is missing.
    Failed,
    /// A required lane ran out of time, and none failed.
    TimedOut,
    /// A required lane was cancelled.
    Cancelled,
    /// A required lane was lost to the machinery.
    Infra,
    /// There is nothing to judge by: no manifest, a wrong one, or one that requires nothing.
    Manifest,
}

impl HeadEnd {
    /// Reads where a head stands; `None` while it goes on, and for a word that is not known here.
    pub fn of(state: &str, lanes: &[Lane]) -> Option<HeadEnd> {
        let required = |wanted: &str| lanes.iter().any(|lane| lane.is_required && lane.state == wanted);
        match state {
            "passed" => Some(HeadEnd::Passed),
            "failed" if required("timed_out") && !required("failed") && !required("missing") => {
                Some(HeadEnd::TimedOut)
            }
            "failed" => Some(HeadEnd::Failed),
            "cancelled" => Some(HeadEnd::Cancelled),
            "infra" => Some(HeadEnd::Infra),
            "no_manifest" | "manifest_error" | "nothing_required" => Some(HeadEnd::Manifest),
            _ => None,
        }
    }
}

impl LaneRun {
    /// Whether its outcome is stored.
    pub fn is_finished(&self) -> bool {
        self.status == "finished"
    }

    /// Where it stands, in a word or two.
    pub fn shown(&self) -> String {
        match (&self.outcome, self.fault.as_deref()) {
            (Some(outcome), Some("infra")) if outcome == "failed" => "failed (infrastructure)".to_owned(),
            (Some(outcome), _) => outcome.replace('_', " "),
            (None, _) => self.status.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(states: &[(&str, bool)]) -> Vec<Lane> {
        let lane = |(state, is_required): &(&str, bool)| {
            serde_json::from_value(serde_json::json!({
                "target": "check", "title": "Check", "is_required": is_required, "state": state, "reason": null,
                "attempts": [], "of_a_newer_forge": 1,
            }))
            .unwrap()
        };
        states.iter().map(lane).collect()
    }

    #[test]
    fn a_head_ends_by_its_required_lanes_and_an_unknown_word_ends_nothing() {
        for (state, states, expected) in [
            ("passed", vec![("passed", true), ("failed", false)], Some(HeadEnd::Passed)),
            ("failed", vec![("timed_out", true), ("failed", false)], Some(HeadEnd::TimedOut)),
            ("failed", vec![("timed_out", true), ("failed", true)], Some(HeadEnd::Failed)),
            ("failed", vec![("timed_out", true), ("missing", true)], Some(HeadEnd::Failed)),
            ("nothing_required", vec![], Some(HeadEnd::Manifest)),
            ("infra", vec![("infra", true)], Some(HeadEnd::Infra)),
            ("running", vec![("running", true)], None),
            ("of_a_newer_forge", vec![], None),
        ] {
            assert_eq!(HeadEnd::of(state, &lanes(&states)), expected, "{state} {states:?}");
        }
    }

    #[test]
    fn what_is_not_known_here_is_printed_all_the_same() {
        let printed = serde_json::to_value(&lanes(&[("passed", true)])[0]).unwrap();
        assert_eq!(printed["of_a_newer_forge"], 1);
    }
}
