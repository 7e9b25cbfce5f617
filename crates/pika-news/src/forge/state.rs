//! The words for where things stand, and the one function that judges a head.
//!
//! Invariant: the state of a head is a pure fold over its required lanes and the latest attempt of each. It is never
//! stored.

use std::fmt;

use pikaci::{Fault, Outcome};
use serde::{Deserialize, Serialize};

/// Where a branch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BranchState {
    /// Waiting to be merged or closed.
    Open,
    /// Merged by this forge.
    Merged,
    /// Closed by somebody; a push opens it again.
    Closed,
    /// Gone from git.
    Deleted,
}

/// What was read from the manifest of a head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Selection {
    /// The manifest was read; the lanes are what it names.
    Selected,
    /// There is no `pikaci.toml` at this head.
    NoManifest,
    /// The manifest is wrong. Terminal for this head.
    ManifestError {
        /// Every problem with line and column, as a person reads it.
        message: String,
        /// The first problem's line, from 1.
        line: Option<u32>,
        /// The first problem's column, from 1.
        column: Option<u32>,
    },
}

/// Where a head stands: the fold of its required lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadState {
    /// It has no manifest. Not a success.
    NoManifest,
    /// Its manifest is wrong.
    ManifestError,
    /// The manifest asks for nothing of this head. Not a success.
    NothingRequired,
    /// Some required lane waits, none runs yet.
    Queued,
    /// Some required lane runs.
    Running,
    /// Every required lane passed.
    Passed,
    /// A required lane failed, timed out, or is missing from the manifest.
    Failed,
    /// A required lane was cancelled.
    Cancelled,
    /// A required lane was lost to the machinery, and no retry is left.
    Infra,
}

/// Where a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// Its latest attempt waits.
    Queued,
    /// Its latest attempt runs.
    Running,
    /// Its latest attempt passed.
    Passed,
    /// Its latest attempt failed.
    Failed,
    /// Its latest attempt hit a deadline.
    TimedOut,
    /// Its latest attempt was cancelled.
    Cancelled,
    /// Its latest attempt was lost to the machinery.
    Infra,
    /// The paths that changed do not concern it.
    NotConcerned,
    /// The run had nothing to do. Not the same as passed.
    Skipped,
    /// The default branch requires it and this head's manifest does not have it.
    Missing,
}

/// Where one attempt at a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LaneRunStatus {
    /// Waiting for a slot.
    Queued,
    /// Claimed.
    Running,
    /// Its outcome is stored.
    Finished,
}

/// What selection made of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LaneKind {
    /// It is to be run.
    Selected,
    /// The paths that changed do not concern it.
    NotConcerned,
    /// The default branch requires it and this head's manifest does not have it.
    Missing,
}

/// The latest attempt at a lane, as far as the fold cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where it stands.
    pub status: LaneRunStatus,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Whose fault it was.
    pub fault: Option<Fault>,
}

/// Judges a lane by its latest attempt.
pub fn lane_state(kind: LaneKind, latest: Option<&Attempt>) -> LaneState {
    match kind {
        LaneKind::Missing => return LaneState::Missing,
        LaneKind::NotConcerned if latest.is_none() => return LaneState::NotConcerned,
        LaneKind::NotConcerned | LaneKind::Selected => {}
    }
    let Some(attempt) = latest else { return LaneState::Queued };
    match attempt.status {
        LaneRunStatus::Queued => LaneState::Queued,
        LaneRunStatus::Running => LaneState::Running,
        LaneRunStatus::Finished => finished_state(attempt),
    }
}

fn finished_state(attempt: &Attempt) -> LaneState {
    match (&attempt.outcome, &attempt.fault) {
        (Some(Outcome::Passed), _) => LaneState::Passed,
        (Some(Outcome::TimedOut), _) => LaneState::TimedOut,
        (Some(Outcome::Cancelled), _) => LaneState::Cancelled,
        (Some(Outcome::Skipped), _) => LaneState::Skipped,
        (Some(Outcome::Failed), Some(Fault::Job | Fault::User)) => LaneState::Failed,
        (Some(Outcome::Failed | Outcome::Unknown(_)) | None, _) => LaneState::Infra,
    }
}

/// Judges a head from what selection found and its required lanes.
///
/// A red lane decides at once; what still runs can't make it green. Zero lanes is not success.
pub fn head_state(selection: &Selection, required: impl IntoIterator<Item = LaneState>) -> HeadState {
    if let Selection::ManifestError { .. } = selection {
        return HeadState::ManifestError;
    }
    let states: Vec<LaneState> = required.into_iter().collect();
    let any = |wanted: &[LaneState]| states.iter().any(|state| wanted.contains(state));
    if any(&[LaneState::Failed, LaneState::TimedOut, LaneState::Missing]) {
        HeadState::Failed
    } else if any(&[LaneState::Running]) {
        HeadState::Running
    } else if any(&[LaneState::Queued]) {
        HeadState::Queued
    } else if any(&[LaneState::Infra]) {
        HeadState::Infra
    } else if any(&[LaneState::Cancelled]) {
        HeadState::Cancelled
    } else if any(&[LaneState::Passed]) && !any(&[LaneState::Skipped]) {
        HeadState::Passed
    } else if *selection == Selection::NoManifest {
        HeadState::NoManifest
    } else {
        HeadState::NothingRequired
    }
}

macro_rules! word_as_text {
    ($($word:ident { $($variant:ident = $text:literal),* $(,)? })*) => {$(
        impl $word {
            /// The word as it is stored and sent.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($word::$variant => $text,)*
                }
            }

            /// Reads a stored word; `None` when there is no such word.
            pub fn parse(text: &str) -> Option<$word> {
                match text {
                    $($text => Some($word::$variant),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $word {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }
    )*};
}

word_as_text! {
    BranchState { Open = "open", Merged = "merged", Closed = "closed", Deleted = "deleted" }
    LaneRunStatus { Queued = "queued", Running = "running", Finished = "finished" }
    LaneKind { Selected = "selected", NotConcerned = "not_concerned", Missing = "missing" }
    HeadState {
        NoManifest = "no_manifest", ManifestError = "manifest_error", NothingRequired = "nothing_required",
        Queued = "queued", Running = "running", Passed = "passed", Failed = "failed", Cancelled = "cancelled",
        Infra = "infra",
    }
    LaneState {
        Queued = "queued", Running = "running", Passed = "passed", Failed = "failed", TimedOut = "timed_out",
        Cancelled = "cancelled", Infra = "infra", NotConcerned = "not_concerned", Skipped = "skipped",
        Missing = "missing",
    }
}

#[cfg(test)]
mod tests;
