//! What the pages and the API show. Plain data: no handle, no path of the server, no reference into the store.
//!
//! Times are milliseconds since the Unix epoch.

use pikaci::{Fault, Outcome, RunId};
use serde::Serialize;

use super::id::{BranchId, HeadId, LaneId, LaneRunId};
use super::state::{BranchState, HeadState, LaneRunStatus, LaneState, Selection};

/// A repository in a list.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RepositoryRow {
    /// Its name, unique in this forge.
    pub name: String,
    /// The branch that the others are merged into.
    pub default_branch: String,
    /// How many branches wait to be merged or closed; the default branch does not count.
    pub open_branches: u32,
    /// Where the default branch's head stands; `None` before its first push.
    pub default_branch_state: Option<HeadState>,
    /// When a branch last changed; `None` before the first push.
    pub updated_at_ms: Option<i64>,
}

/// A repository on its own page.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RepositoryView {
    /// Its name.
    pub name: String,
    /// The branch that the others are merged into.
    pub default_branch: String,
    /// Whether nothing was ever pushed.
    pub is_empty: bool,
    /// What to clone, below the forge's public URL: `/news/git/<name>.git`.
    pub clone_path: String,
    /// How many branches there are by state.
    pub counts: BranchCounts,
    /// Why the refs could not be compared with the branches lately, if so.
    pub problem: Option<String>,
}

/// Branches by state, without the default branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct BranchCounts {
    /// Open.
    pub open: u32,
    /// Merged.
    pub merged: u32,
    /// Closed, or deleted in git.
    pub closed: u32,
}

/// Which branches a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchFilter {
    /// Only those in this state. `Closed` brings the deleted ones too; `Open` the default branch too.
    pub state: Option<BranchState>,
    /// At most so many.
    pub limit: u32,
    /// How many to leave out first.
    pub offset: u32,
}

/// A page of a list of branches.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct BranchList {
    /// The default branch first, then the latest change first.
    pub rows: Vec<BranchRow>,
    /// Whether there are more after these.
    pub has_more: bool,
}

/// A branch in a list.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct BranchRow {
    /// Its number.
    pub id: BranchId,
    /// Its repository's name.
    pub repository: String,
    /// Its name, without `refs/heads/`.
    pub name: String,
    /// Whether it is the default branch.
    pub is_default: bool,
    /// Where it stands.
    pub state: BranchState,
    /// The commit that it points at.
    pub head_oid: String,
    /// The first line of that commit's message.
    pub subject: String,
    /// That commit's author.
    pub author: String,
    /// The state of its head.
    pub head_state: HeadState,
    /// The head's lanes, in the manifest's order.
    pub lanes: Vec<LaneBadge>,
    /// When it last changed.
    pub updated_at_ms: i64,
}

/// A lane in a list of branches.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LaneBadge {
    /// The target's id.
    pub target: String,
    /// The target's title.
    pub title: String,
    /// Whether a merge needs it.
    pub is_required: bool,
    /// Where it stands.
    pub state: LaneState,
    /// Its latest attempt, if there is one.
    pub lane_run: Option<LaneRunId>,
}

/// A branch on its own page.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct BranchView {
    /// What a list shows of it.
    pub row: BranchRow,
    /// The branch that it would be merged into.
    pub merge_target: String,
    /// The head that it points at.
    pub head: HeadView,
    /// Its earlier heads, the latest first; at most 20.
    pub earlier_heads: Vec<HeadRow>,
    /// Whether it can be merged now, and why not.
    pub merge: MergeReadiness,
    /// The commit that merged it.
    pub merge_oid: Option<String>,
}

/// An earlier head of a branch.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct HeadRow {
    /// The commit.
    pub oid: String,
    /// The first line of its message.
    pub subject: String,
    /// Where it stands.
    pub state: HeadState,
    /// When it was pushed.
    pub pushed_at_ms: i64,
}

/// One head of a branch.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct HeadView {
    /// The commit.
    pub oid: String,
    /// The first line of its message.
    pub subject: String,
    /// Its author.
    pub author: String,
    /// The merge base that its changes are shown against; `None`: against the empty tree.
    pub base_oid: Option<String>,
    /// Whether it has no history in common with the merge target; such a branch can't be merged.
    pub is_orphan: bool,
    /// What was read from its manifest.
    pub selection: Selection,
    /// The fold of its required lanes.
    pub state: HeadState,
    /// All its lanes, in the manifest's order.
    pub lanes: Vec<LaneView>,
    /// When it was pushed.
    pub pushed_at_ms: i64,
    /// Who pushed it, when that is known.
    pub pushed_by: Option<String>,
}

/// A head in a list, and on its own.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct HeadSummary {
    /// Its number.
    pub id: HeadId,
    /// Its repository's name.
    pub repository: String,
    /// Its branch.
    pub branch_id: BranchId,
    /// That branch's name.
    pub branch: String,
    /// Whether the branch points at it now.
    pub is_current: bool,
    /// The commit.
    pub oid: String,
    /// The first line of its message.
    pub subject: String,
    /// Its author.
    pub author: String,
    /// The merge base that its changes are shown against.
    pub base_oid: Option<String>,
    /// Whether it has no history in common with the merge target.
    pub is_orphan: bool,
    /// What was read from its manifest.
    pub selection: Selection,
    /// The fold of its required lanes.
    pub state: HeadState,
    /// When it was pushed.
    pub pushed_at_ms: i64,
    /// Who pushed it, when that is known.
    pub pushed_by: Option<String>,
}

/// A lane in a list, and on its own.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LaneSummary {
    /// Its number.
    pub id: LaneId,
    /// Its head.
    pub head_id: HeadId,
    /// The target's id.
    pub target: String,
    /// The target's title.
    pub title: String,
    /// Whether a merge needs it.
    pub is_required: bool,
    /// Where it stands.
    pub state: LaneState,
    /// Why it waits, why it is not run, or what a reader should know of its end.
    pub reason: Option<String>,
    /// How many attempts there are.
    pub attempts: usize,
    /// The latest of them.
    pub latest: Option<LaneRunView>,
}

/// An attempt at a lane in a list, with what it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PlacedLaneRunView {
    /// Its repository's name.
    pub repository: String,
    /// Its branch.
    pub branch_id: BranchId,
    /// That branch's name.
    pub branch: String,
    /// Its head.
    pub head_id: HeadId,
    /// The commit that it tests.
    pub head_oid: String,
    /// Its lane.
    pub lane_id: LaneId,
    /// The lane's target.
    pub lane: String,
    /// The attempt itself.
    #[serde(flatten)]
    pub run: LaneRunView,
}

/// One lane of a head.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LaneView {
    /// Its number.
    pub id: LaneId,
    /// The target's id.
    pub target: String,
    /// The target's title.
    pub title: String,
    /// Whether a merge needs it.
    pub is_required: bool,
    /// Where it stands.
    pub state: LaneState,
    /// Why it waits, why it is not run, or what a reader should know of its end.
    pub reason: Option<String>,
    /// Its attempts, the latest first.
    pub attempts: Vec<LaneRunView>,
}

/// One attempt at a lane.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LaneRunView {
    /// Its number.
    pub id: LaneRunId,
    /// From 1.
    pub attempt: u32,
    /// Where it stands.
    pub status: LaneRunStatus,
    /// How it ended.
    #[schema(value_type = Option<String>)]
    pub outcome: Option<Outcome>,
    /// Whose fault it was.
    #[schema(value_type = Option<String>)]
    pub fault: Option<Fault>,
    /// What a reader should know beyond the outcome.
    pub message: Option<String>,
    /// Why it waits, while it is queued.
    pub waits: Option<String>,
    /// The run of `pikaci`; absent until it is claimed.
    #[schema(value_type = Option<String>)]
    pub run_id: Option<RunId>,
    /// Why there is this attempt: `push`, `retry`, `rerun`, `rerun-failed`.
    pub cause: String,
    /// Who asked for it, when somebody did.
    pub requested_by: Option<String>,
    /// Whether somebody asked to stop it.
    pub is_cancel_requested: bool,
    /// When it was queued.
    pub queued_at_ms: i64,
    /// When it was claimed.
    pub started_at_ms: Option<i64>,
    /// When its outcome was stored.
    pub finished_at_ms: Option<i64>,
}

/// One attempt at a lane, on its own page.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LaneRunDetail {
    /// Its repository's name.
    pub repository: String,
    /// Its branch.
    pub branch_id: BranchId,
    /// That branch's name.
    pub branch_name: String,
    /// The commit that it tests.
    pub head_oid: String,
    /// Whether that commit is still the branch's head.
    pub is_current_head: bool,
    /// The lane, with all its attempts.
    pub lane: LaneView,
    /// The attempt itself.
    pub run: LaneRunView,
}

/// Whether a branch can be merged now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MergeReadiness {
    /// Whether a merge of this head would be accepted, conflicts aside.
    pub is_ready: bool,
    /// Why not, and what to do.
    pub reason: Option<String>,
}

/// What came of a push.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PushReceipt {
    /// One entry for each branch that was pushed.
    pub branches: Vec<PushedBranch>,
}

/// What came of the push of one branch.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PushedBranch {
    /// Its name.
    pub name: String,
    /// Its number; absent when the forge could not take it in.
    pub id: Option<BranchId>,
    /// The page of the branch, below the forge's public URL.
    pub path: Option<String>,
    /// The targets that were queued by this push.
    pub queued: Vec<String>,
    /// What the pusher should know: a manifest error with its line, an orphan branch, a fault.
    pub notes: Vec<String>,
}

/// A merge that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Merged {
    /// The merge commit.
    pub oid: String,
    /// The branch that it is on now.
    pub target: String,
}

/// Something changed; whoever shows it should look again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Change {
    /// The repository's name.
    pub repository: String,
    /// The branch.
    pub branch_id: BranchId,
    /// The lane run, when it was one.
    pub lane_run_id: Option<LaneRunId>,
}

/// How the forge is, for its operator.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// How many lanes may run at once.
    pub slots: usize,
    /// How many lanes are alive.
    pub lanes_running: usize,
    /// How many lane runs wait.
    pub lanes_queued: u32,
    /// How many tutorials wait to be written.
    pub tutorials_queued: u32,
    /// Whether it is shutting down.
    pub is_draining: bool,
    /// The parts that go round by themselves.
    pub actors: Vec<ActorHealth>,
    /// The repositories whose refs could not be compared lately, with the reason.
    pub problems: Vec<(String, String)>,
}

/// When a part of the forge last went round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ActorHealth {
    /// Its name.
    pub name: &'static str,
    /// When, in milliseconds since the Unix epoch; absent when it has not begun.
    pub progressed_at_ms: Option<i64>,
    /// Whether that is longer ago than it should be.
    pub is_late: bool,
}
