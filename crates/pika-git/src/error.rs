//! Why something about a repository could not be done.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::oid::Oid;

/// Why a call failed. Callers act on the variants; the texts are for people.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no bare repository at this place.
    #[error("{} is not a bare git repository", path.display())]
    NotARepository {
        /// The place.
        path: PathBuf,
    },
    /// The folder is in no checkout.
    #[error("{} is in no git repository with a working tree", path.display())]
    NotAWorkTree {
        /// The folder.
        path: PathBuf,
    },
    /// The repository has no such commit or branch. Callers show "not found"; it is not a fault.
    #[error("{what} is not in the repository")]
    NotFound {
        /// The commit or reference.
        what: String,
    },
    /// A reference is not where the caller expected it: somebody else moved it. Nothing was changed.
    #[error(
        "{reference} is at {}, not at {}; look at it again and retry",
        shown(found.as_ref()),
        shown(expected.as_ref())
    )]
    RefMoved {
        /// The full reference.
        reference: String,
        /// Where the caller thought it was; `None` is "not there".
        expected: Option<Oid>,
        /// Where it is.
        found: Option<Oid>,
    },
    /// The result is larger than the caller allows.
    #[error("{what} is larger than {bytes_max} bytes")]
    TooLarge {
        /// The file, or what git was asked to do.
        what: String,
        /// The limit.
        bytes_max: u64,
    },
    /// The difference has more lines or hunks than anybody will read; each takes memory, however short it is.
    #[error("the difference has more than {lines_max} lines, or more than {hunks_max} hunks")]
    TooManyLines {
        /// The limit for lines.
        lines_max: usize,
        /// The limit for hunks.
        hunks_max: usize,
    },
    /// Git did not finish in time, or nothing moved for too long; it was ended with everything it had started.
    #[error("git took longer than {} s to {what}; it was ended", limit.as_secs())]
    TimedOut {
        /// What git was asked to do.
        what: &'static str,
        /// The deadline that has passed.
        limit: Duration,
    },
    /// Git ended with an error that has no meaning of its own here.
    #[error("git could not {what} ({status}): {stderr}")]
    Failed {
        /// What git was asked to do.
        what: &'static str,
        /// Its exit status.
        status: String,
        /// The end of what it said, cut to a bounded length.
        stderr: String,
    },
    /// Git answered something that this crate does not understand.
    #[error("git's answer when asked to {what} could not be read: {problem}")]
    Answer {
        /// What git was asked to do.
        what: &'static str,
        /// What was wrong with the answer.
        problem: String,
    },
    /// The installed git lacks what is needed.
    #[error("git {found} is too old; install git {needed} or newer")]
    TooOld {
        /// The version that is installed.
        found: String,
        /// The first version that would do.
        needed: &'static str,
    },
    /// The program could not be started.
    #[error("cannot start git; is it installed, in one of {search_path}?")]
    Start {
        /// Where it was looked for.
        search_path: String,
        /// Why the system refused.
        source: io::Error,
    },
    /// A file or pipe failed.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: String,
        /// Why the system refused.
        source: io::Error,
    },
}

impl GitError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> GitError {
        let action = action.into();
        move |source| GitError::Io { action, source }
    }
}

fn shown(oid: Option<&Oid>) -> &str {
    oid.map_or("nothing", Oid::short)
}
