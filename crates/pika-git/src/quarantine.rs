//! What a push brings before git has stored it: its objects are apart from the repository's, and git tells only the hook
//! where.
//!
//! Invariant: nothing here writes; what is refused leaves no object behind.

use std::ffi::OsString;
use std::time::Duration;

use crate::error::GitError;
use crate::oid::Oid;
use crate::repository::Repository;

/// The variables by which git leads a hook to the objects of a push.
const VARIABLES: [&str; 3] =
    ["GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"];
/// How long the search for an ancestor may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where the objects of a push are while its hook decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantine {
    variables: Vec<(&'static str, OsString)>,
}

impl Quarantine {
    /// Reads what git hands to a hook. `variable` looks up one variable of the process.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Quarantine {
        let set = VARIABLES.iter().filter_map(|name| Some((*name, variable(name)?)));
        Quarantine { variables: set.collect() }
    }
}

impl Repository {
    /// Whether `old` is an ancestor of `new`, or the same: a branch that moves so loses nothing. Both may be part of a
    /// push that is not stored yet.
    pub async fn is_ancestor(&self, old: &Oid, new: &Oid, quarantine: &Quarantine) -> Result<bool, GitError> {
        let what = "compare two commits";
        let mut call = self.call(what).deadline(DEADLINE);
        for (name, value) in &quarantine.variables {
            call = call.variable(name, value);
        }
        let arguments = ["merge-base", "--is-ancestor", old.as_str(), new.as_str()];
        let finished = call.arguments(arguments).run().await?;
        match finished.code {
            0 => Ok(true),
            1 => Ok(false),
            _ => Err(finished.into_error(what)),
        }
    }
}
