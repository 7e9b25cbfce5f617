//! States as people read them: an icon and a word. The colour only repeats what these say.
//!
//! Invariant: the markup that is made here holds text of this file alone.

use std::borrow::Borrow;

use pikaci::{Fault, JobRecord, JobStatus, Outcome, RunRecord, RunStatus};

use crate::forge::state::{BranchState, HeadState, LaneRunStatus, LaneState};
use crate::forge::view::LaneRunView;
use crate::web::time;

/// A state as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// The words.
    pub(crate) label: &'static str,
    tone: &'static str,
    icon: Icon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Icon {
    Check,
    Cross,
    Turning,
    Clock,
    Bar,
    Warning,
    Dot,
    Merge,
    Branch,
}

impl Icon {
    fn path(self) -> &'static str {
        match self {
            Icon::Check => "<circle cx='12' cy='12' r='9'/><path d='m8 12.5 2.7 2.7L16 9.5'/>",
            Icon::Cross => "<circle cx='12' cy='12' r='9'/><path d='m9 9 6 6m0-6-6 6'/>",
            Icon::Turning => "<path d='M12 3a9 9 0 1 1-9 9' />",
            Icon::Clock => "<circle cx='12' cy='12' r='9'/><path d='M12 7.5V12l3 2'/>",
            Icon::Bar => "<circle cx='12' cy='12' r='9'/><path d='m6 18 12-12'/>",
            Icon::Warning => "<path d='M12 4 2.8 20h18.4zM12 10v4m0 3v.01'/>",
            Icon::Dot => "<circle cx='12' cy='12' r='9'/><path d='M8 12h8'/>",
            Icon::Merge => {
                "<circle cx='6' cy='5' r='2.5'/><circle cx='6' cy='19' r='2.5'/><circle cx='18' cy='12' r='2.5'/><path d='M6 7.5v9M6.5 7.5c.8 3 3.5 4.5 9 4.5'/>"
            }
            Icon::Branch => {
                "<circle cx='6' cy='5' r='2.5'/><circle cx='6' cy='19' r='2.5'/><circle cx='18' cy='7' r='2.5'/><path d='M6 7.5v9M18 9.500c0 4-6 3.500-11.500 5.500'/>"
            }
        }
    }
}

const GOOD: &str = "is-good";
const BAD: &str = "is-bad";
const BUSY: &str = "is-busy";
const TURNING: &str = "is-busy is-spinning";
const DONE: &str = "is-done";
const QUIET: &str = "is-quiet";

impl Status {
    const fn new(label: &'static str, tone: &'static str, icon: Icon) -> Status {
        Status { label, tone, icon }
    }

    /// The markup in a line of text.
    pub(crate) fn inline(self) -> String {
        self.markup("")
    }

    /// The markup where it stands out.
    pub(crate) fn pill(self) -> String {
        self.markup(" pill")
    }

    fn markup(self, form: &str) -> String {
        let Status { label, tone, icon } = self;
        format!(
            "<span class=\"status {tone}{form}\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\">{}</svg>{label}</span>",
            icon.path()
        )
    }

    /// Only the icon, before a name; the words are there for who can't see it.
    pub(crate) fn with_name(self, name: impl AsRef<str>) -> String {
        let Status { label, tone, icon } = self;
        let name = askama::filters::escape(name.as_ref(), askama::filters::Html)
            .map_or_else(|never| match never {}, |name| name.to_string());
        format!(
            "<span class=\"status {tone}\" title=\"{label}\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\">{}</svg>{name}<span class=\"visually-hidden\"> {label}</span></span>",
            icon.path()
        )
    }
}

/// A branch's state.
pub(crate) fn branch(state: impl Borrow<BranchState>) -> Status {
    match state.borrow() {
        BranchState::Open => Status::new("open", GOOD, Icon::Branch),
        BranchState::Merged => Status::new("merged", DONE, Icon::Merge),
        BranchState::Closed => Status::new("closed", BAD, Icon::Bar),
        BranchState::Deleted => Status::new("deleted", QUIET, Icon::Bar),
    }
}

/// A head's state.
pub(crate) fn head(state: impl Borrow<HeadState>) -> Status {
    match state.borrow() {
        HeadState::NoManifest => Status::new("no manifest", QUIET, Icon::Dot),
        HeadState::ManifestError => Status::new("manifest error", BAD, Icon::Warning),
        HeadState::NothingRequired => Status::new("nothing required", QUIET, Icon::Dot),
        HeadState::Queued => Status::new("queued", BUSY, Icon::Clock),
        HeadState::Running => Status::new("running", TURNING, Icon::Turning),
        HeadState::Passed => Status::new("passed", GOOD, Icon::Check),
        HeadState::Failed => Status::new("failed", BAD, Icon::Cross),
        HeadState::Cancelled => Status::new("cancelled", QUIET, Icon::Bar),
        HeadState::Infra => Status::new("infrastructure fault", BAD, Icon::Warning),
    }
}

/// A lane's state.
pub(crate) fn lane(state: impl Borrow<LaneState>) -> Status {
    match state.borrow() {
        LaneState::Queued => Status::new("queued", BUSY, Icon::Clock),
        LaneState::Running => Status::new("running", TURNING, Icon::Turning),
        LaneState::Passed => Status::new("passed", GOOD, Icon::Check),
        LaneState::Failed => Status::new("failed", BAD, Icon::Cross),
        LaneState::TimedOut => Status::new("timed out", BAD, Icon::Clock),
        LaneState::Cancelled => Status::new("cancelled", QUIET, Icon::Bar),
        LaneState::Infra => Status::new("infrastructure fault", BAD, Icon::Warning),
        LaneState::NotConcerned => Status::new("not concerned", QUIET, Icon::Dot),
        LaneState::Skipped => Status::new("skipped", QUIET, Icon::Dot),
        LaneState::Missing => Status::new("missing", BAD, Icon::Warning),
    }
}

/// How one attempt at a lane stands.
pub(crate) fn lane_run(run: &LaneRunView) -> Status {
    match run.status {
        LaneRunStatus::Queued => Status::new("queued", BUSY, Icon::Clock),
        LaneRunStatus::Running => Status::new("running", TURNING, Icon::Turning),
        LaneRunStatus::Finished => ended(&run.outcome, &run.fault),
    }
}

/// How a job stands.
pub(crate) fn job(job: &JobRecord) -> Status {
    match job.status {
        JobStatus::Running => Status::new("running", TURNING, Icon::Turning),
        JobStatus::Passed => Status::new("passed", GOOD, Icon::Check),
        JobStatus::Skipped => Status::new("skipped", QUIET, Icon::Dot),
        JobStatus::Failed | JobStatus::Unknown(_) => ended(&job.outcome, &job.fault),
    }
}

/// How something ended.
pub(crate) fn ended(outcome: &Option<Outcome>, fault: &Option<Fault>) -> Status {
    match (outcome, fault) {
        (Some(Outcome::Passed), _) => Status::new("passed", GOOD, Icon::Check),
        (Some(Outcome::TimedOut), _) => Status::new("timed out", BAD, Icon::Clock),
        (Some(Outcome::Cancelled), _) => Status::new("cancelled", QUIET, Icon::Bar),
        (Some(Outcome::Skipped), _) => Status::new("skipped", QUIET, Icon::Dot),
        (_, Some(Fault::Infra)) => Status::new("infrastructure fault", BAD, Icon::Warning),
        (Some(Outcome::Failed), _) => Status::new("failed", BAD, Icon::Cross),
        (Some(Outcome::Unknown(_)) | None, _) => Status::new("unknown", QUIET, Icon::Warning),
    }
}

/// A job that was planned and has not begun.
pub(crate) fn planned(run: &RunRecord) -> Status {
    match run.status {
        RunStatus::Running => Status::new("waiting", BUSY, Icon::Clock),
        RunStatus::Passed | RunStatus::Failed | RunStatus::Skipped | RunStatus::Unknown(_) => {
            Status::new("not run", QUIET, Icon::Dot)
        }
    }
}

/// Whose fault it was, in words.
pub(crate) fn fault(fault: &Fault) -> &str {
    match fault {
        Fault::Job => "the tested code",
        Fault::Infra => "the machinery",
        Fault::User => "a person who stopped it",
        Fault::Unknown(word) => word,
    }
}

/// The first ten digits of a commit's id.
pub(crate) fn short(oid: &str) -> &str {
    oid.get(..10).unwrap_or(oid)
}

/// An attempt, where several are listed.
pub(crate) fn attempt_name(run: &LaneRunView) -> String {
    format!("attempt {}", run.attempt)
}

/// How long an attempt took, or has been running for.
pub(crate) fn lane_run_time(run: &LaneRunView) -> String {
    match (run.started_at_ms, run.finished_at_ms) {
        (Some(started), Some(finished)) => format!("took {}", time::between(started, Some(finished))),
        (Some(started), None) => format!("running for {}", time::between(started, None)),
        (None, _) => String::new(),
    }
}
