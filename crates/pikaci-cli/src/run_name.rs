//! How a person names a run: in full, by its beginning, or as the latest.
//!
//! Invariant: a name holds only what a run id may hold, so it is no path.

use std::str::FromStr;

use pikaci::{RunId, StateRoot, store};

use crate::failure::Failure;

const LATEST: &str = "latest";
/// How many runs an ambiguous beginning lists.
const SHOWN_MAX: usize = 5;

/// What stands for a run on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunName {
    /// The newest run.
    Latest,
    /// The run whose id begins so.
    Prefix(String),
}

impl FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<RunName, String> {
        if text == LATEST {
            return Ok(RunName::Latest);
        }
        let is_beginning = !text.is_empty()
            && text.len() <= "20260301T142233Z-7f3a9c10".len()
            && text.bytes().all(|byte| byte.is_ascii_hexdigit() || b"TZ-".contains(&byte));
        match is_beginning {
            true => Ok(RunName::Prefix(text.to_owned())),
            false => Err(format!(
                "a run is named by its id, such as 20260301T142233Z-7f3a9c10, by the beginning of one, or by `{LATEST}`"
            )),
        }
    }
}

impl RunName {
    /// Finds the one run that is meant.
    pub(crate) fn resolve(&self, state: &StateRoot) -> Result<RunId, Failure> {
        let runs = store::list_runs(state)?;
        let place = state.path().display();
        let RunName::Prefix(prefix) = self else {
            return newest(state, runs).ok_or_else(|| {
                Failure::usage_text(format!("there is no run in {place}; start one with `pikaci run`"))
            });
        };
        let mut matching = runs.into_iter().filter(|run| run.as_str().starts_with(prefix));
        let Some(run) = matching.next() else {
            return Err(Failure::usage_text(format!(
                "there is no run {prefix} in {place}; `pikaci list` shows all"
            )));
        };
        let others: Vec<RunId> = matching.collect();
        if others.is_empty() {
            return Ok(run);
        }
        let shown: Vec<&str> =
            std::iter::once(&run).chain(&others).take(SHOWN_MAX).map(RunId::as_str).collect();
        Err(Failure::usage_text(format!(
            "{} runs begin with {prefix}; say more of one, such as {}",
            others.len() + 1,
            shown.join(", ")
        )))
    }
}

/// The run that was opened last. Ids tell that to the second; within one, the records do.
fn newest(state: &StateRoot, runs: Vec<RunId>) -> Option<RunId> {
    let second = runs.first()?.as_str().split('-').next()?.to_owned();
    let mut newest = runs.into_iter().take_while(|run| run.as_str().starts_with(&second)).collect::<Vec<_>>();
    if newest.len() > 1 {
        newest
            .sort_by_cached_key(|run| store::load_stored_run_record(state, run).ok().map(|it| it.created_at));
    }
    newest.pop()
}
