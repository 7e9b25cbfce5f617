//! What happened, as it is told: to streams, to those who ask for the list, and to webhooks.
//!
//! Invariants: an id is given once for as long as the database lives, restart or not; a larger id is a later event; an event
//! was written in the transaction of what it tells. The words are stored, and keep their meaning; new ones may come.

use pikaci::{Fault, Outcome, RunId};
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::id::{BranchId, LaneRunId};
use super::state::HeadState;

macro_rules! event_kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[doc = $doc])* #[serde(rename = $word)] $name,)*
        }

        impl EventKind {
            /// All of them.
            pub const ALL: &[EventKind] = &[$(EventKind::$name),*];

            /// The word as it is stored and sent.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(EventKind::$name => $word,)*
                }
            }
        }
    };
}

event_kinds! {
    /// A branch was pushed that the forge did not know.
    BranchCreated = "branch.created";
    /// A branch that was closed, deleted or merged is open again.
    BranchReopened = "branch.reopened";
    /// Somebody closed a branch.
    BranchClosed = "branch.closed";
    /// A branch is gone from git.
    BranchDeleted = "branch.deleted";
    /// A branch is merged.
    BranchMerged = "branch.merged";
    /// A branch points at another commit.
    HeadPushed = "head.pushed";
    /// What a head comes to is decided, until a lane is run again.
    HeadVerdict = "head.verdict";
    /// An attempt at a lane waits.
    LaneQueued = "lane.queued";
    /// An attempt at a lane was given a slot.
    LaneStarted = "lane.started";
    /// An attempt at a lane is over.
    LaneFinished = "lane.finished";
    /// A tutorial waits for its writer.
    TutorialQueued = "tutorial.queued";
    /// A tutorial is being written.
    TutorialStarted = "tutorial.started";
    /// A tutorial is what it will be.
    TutorialFinished = "tutorial.finished";
    /// A merge is about to be done.
    MergeStarted = "merge.started";
    /// A merge is on its target.
    MergeFinished = "merge.finished";
    /// A merge was not done.
    MergeFailed = "merge.failed";
}

impl EventKind {
    /// Reads a word; `None` when there is no such word.
    pub fn parse(text: &str) -> Option<EventKind> {
        EventKind::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

// The derived one does not see the words behind the macro.
impl utoipa::PartialSchema for EventKind {
    fn schema() -> RefOr<Schema> {
        let words = EventKind::ALL.iter().map(|kind| kind.as_str());
        let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
        schema.description(Some("What happened. New words may come.")).into()
    }
}

impl utoipa::ToSchema for EventKind {}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Event {
    /// Its place in the order of all events.
    pub id: i64,
    /// What happened.
    pub kind: EventKind,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The repository's name.
    pub repository: String,
    /// The branch.
    pub branch_id: BranchId,
    /// What else is known of it.
    #[serde(flatten)]
    pub detail: EventDetail,
}

/// What an event says beyond its kind. What does not concern its kind is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct EventDetail {
    /// The branch's name.
    pub branch: String,
    /// The commit that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_oid: Option<String>,
    /// The commit that the branch pointed at before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_oid: Option<String>,
    /// The first line of the commit's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who did it, when somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The lane's target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// The attempt at the lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane_run_id: Option<LaneRunId>,
    /// Which attempt that is, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Why there is this attempt: `push`, `retry`, `rerun`, `rerun-failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The run of `pikaci`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub run_id: Option<RunId>,
    /// How the attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub outcome: Option<Outcome>,
    /// Whose fault it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub fault: Option<Fault>,
    /// What the head comes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<HeadState>,
    /// What became of the tutorial: `written`, `partial`, `carried_over`, `failed` or `cancelled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tutorial: Option<String>,
    /// The branch that is merged into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The merge commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_oid: Option<String>,
    /// What a reader should know beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A part of the events, the oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Events {
    /// Those that were asked for.
    pub events: Vec<Event>,
    /// Every event up to this one was looked at; the next part begins after it.
    pub position: i64,
    /// Whether there are more.
    pub has_more: bool,
}

/// Why events can't be read from a place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// What followed it is no longer kept; the oldest that is has this id.
    Removed {
        /// The oldest event that is kept.
        oldest: i64,
    },
    /// This forge has not given that id: its database was replaced by an older one.
    Unknown {
        /// The latest event.
        latest: i64,
    },
}

impl super::Forge {
    /// Reads events after a place, of these repositories, looking at no more than a bounded number of rows.
    pub async fn events(
        &self,
        repositories: &[String],
        after: i64,
        limit: u32,
    ) -> Result<Result<Events, Gone>, super::ForgeError> {
        let names: Vec<_> = self
            .all_hosted()
            .into_iter()
            .filter(|hosted| repositories.contains(&hosted.config.name))
            .map(|hosted| (hosted.id, hosted.config.name.clone()))
            .collect();
        Ok(self.store().list_events(names, after, limit).await?)
    }

    /// Where the events begin that are kept, and where they end: the place before the oldest, and the latest.
    pub async fn event_bounds(&self) -> Result<(i64, i64), super::ForgeError> {
        Ok(self.store().event_bounds().await?)
    }

    /// Removes events that are older than they are kept for.
    pub(crate) async fn forget_old_events(&self) {
        loop {
            match self.store().remove_old_events(self.now_ms()).await {
                Ok(0) => return,
                Ok(removed) => tracing::debug!(removed, "old events were removed"),
                Err(error) => {
                    tracing::warn!(%error, "old events could not be removed");
                    return;
                }
            }
        }
    }
}
