//! What the tools may be told. The comments are what agents read.
//!
//! Invariant: a field that nobody needs to fill is optional.

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;

/// Where to act.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(super) struct PlaceRequest {
    /// The git working tree to act in; without it the folder that this server was started in.
    pub(super) folder: Option<String>,
    /// The repository's name on the forge; without it that of the working tree's remotes.
    pub(super) repository: Option<String>,
}

macro_rules! requests {
    ($($name:ident { $($(#[doc = $doc:literal])* $field:ident: $kind:ty,)* })*) => {$(
        #[derive(Clone, Debug, Deserialize, JsonSchema)]
        pub(super) struct $name {
            $($(#[doc = $doc])* pub(super) $field: $kind,)*
            #[serde(flatten)]
            pub(super) place: PlaceRequest,
        }
    )*};
}

requests! {
    PushRequest {
        /// The branch to push to; without it the branch that is checked out.
        branch: Option<String>,
        /// The commit to push, as git names it; without it HEAD.
        revision: Option<String>,
        /// Replace a branch whose history was rewritten: its present head on the forge, as a whole commit name. Without it only
        /// forward moves are pushed.
        replace_head: Option<String>,
    }
    WaitRequest {
        /// The branch's name or number; without it the branch that is checked out.
        branch: Option<String>,
        /// The commit to wait for; without it the one that is checked out, or the present head of a branch that is named.
        head: Option<String>,
        /// How long to wait, in seconds; 50 without it, at most 3600. Keep it below your client's own timeout.
        timeout_s: Option<u64>,
    }
    FailureRequest {
        /// The branch's name or number; without it the branch that is checked out.
        branch: Option<String>,
        /// The number of a lane run, in place of a branch.
        lane_run: Option<i64>,
    }
    LogRequest {
        /// The number of a lane run; without it the one of the branch that matters most: failed, else running.
        lane_run: Option<i64>,
        /// The branch's name or number; without it the branch that is checked out.
        branch: Option<String>,
        /// The lane of the branch.
        lane: Option<String>,
        /// The job's id; without it the job whose log matters most.
        job: Option<String>,
        /// Read what the machinery says of the job, in place of what the job printed.
        machinery: Option<bool>,
        /// The first byte; without it the end of the log is read.
        offset: Option<u64>,
        /// How many bytes; 8192 without it, at most 14336.
        bytes: Option<u64>,
    }
    ListRequest {
        /// `open` (the default), `merged`, `closed`, `deleted` or `all`.
        state: Option<String>,
        /// At most so many; 30 without it, at most 100.
        limit: Option<u32>,
    }
    BranchRequest {
        /// The branch's name or number; without it the branch that is checked out.
        branch: Option<String>,
    }
    MergeRequest {
        /// The branch's name or number.
        branch: String,
        /// The commit that you saw tested: the branch's head, by its whole name or as the working tree knows it.
        expected_head: String,
    }
    RerunRequest {
        /// The number of the lane run, as `branch` and the summaries show it.
        lane_run: i64,
        /// Only the jobs that did not pass.
        failed_only: Option<bool>,
    }
    CancelRequest {
        /// The number of the lane run.
        lane_run: i64,
    }
}
