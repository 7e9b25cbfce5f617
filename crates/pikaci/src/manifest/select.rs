//! What a person or the forge asks to run.

use std::collections::BTreeSet;

use super::nearest::{listed, nearest};
use super::{Manifest, Target};
use crate::id::{JobId, TargetId};
use crate::job::JobSpec;

/// What was asked for: jobs of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection<'m> {
    /// The target that the jobs belong to.
    pub target: &'m Target,
    /// What makes prepared outputs, then the jobs and everything that they need, in the manifest's order.
    pub jobs: Vec<JobSpec>,
}

/// Why nothing was selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No target has that name.
    #[error("there is no target `{name}`; {}", remedy(similar.as_deref(), known, "its targets are"))]
    UnknownTarget {
        /// What was asked for.
        name: String,
        /// What was probably meant; may be `target/job`.
        similar: Option<String>,
        /// The targets that there are.
        known: Vec<String>,
    },
    /// The target has no job of that name.
    #[error("the target `{target}` has no job `{name}`; {}", remedy(similar.as_deref(), known, "its jobs are"))]
    UnknownJob {
        /// The target.
        target: TargetId,
        /// What was asked for.
        name: String,
        /// What was probably meant.
        similar: Option<String>,
        /// The jobs that there are.
        known: Vec<String>,
    },
}

fn remedy(similar: Option<&str>, known: &[String], introduction: &str) -> String {
    match similar {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => format!("{introduction} {}", listed(known.iter().map(String::as_str))),
    }
}

impl Manifest {
    /// Finds what `target` or `target/job` names; the job may be one that makes a prepared output. Path filters have no say: what is named is run.
    pub fn select(&self, text: &str) -> Result<Selection<'_>, SelectError> {
        let (target_name, job_name) = match text.split_once('/') {
            Some((target, job)) => (target, Some(job)),
            None => (text, None),
        };
        let target = self
            .targets()
            .iter()
            .find(|target| target.id.as_str() == target_name)
            .ok_or_else(|| self.unknown_target(text, target_name))?;
        let jobs = match job_name {
            None => target.jobs.clone(),
            Some(name) => match self.maker(&target.id, name) {
                Some(jobs) => return Ok(Selection { target, jobs }),
                None => target.with_needs(name)?,
            },
        };
        Ok(Selection { target, jobs: self.with_prepared(&target.id, jobs) })
    }

    fn unknown_target(&self, text: &str, target_name: &str) -> SelectError {
        let similar = self
            .targets()
            .iter()
            .find(|target| target.jobs.iter().any(|job| job.id.as_str() == text))
            .map(|target| format!("{}/{text}", target.id))
            .or_else(|| {
                let similar = nearest(target_name, self.targets().iter().map(|target| target.id.as_str()))?;
                Some(text.replacen(target_name, similar, 1))
            });
        SelectError::UnknownTarget {
            name: super::table::shown(target_name),
            similar,
            known: self.targets().iter().map(|target| target.id.to_string()).collect(),
        }
    }
}

impl Target {
    /// The job of that name and everything that it needs, in the manifest's order.
    fn with_needs(&self, name: &str) -> Result<Vec<JobSpec>, SelectError> {
        let find = |id: &str| self.jobs.iter().find(|job| job.id.as_str() == id);
        let first = find(name).ok_or_else(|| SelectError::UnknownJob {
            target: self.id.clone(),
            name: super::table::shown(name),
            similar: nearest(name, self.jobs.iter().map(|job| job.id.as_str())).map(str::to_owned),
            known: self.jobs.iter().map(|job| job.id.to_string()).collect(),
        })?;
        let mut wanted: BTreeSet<&JobId> = BTreeSet::new();
        let mut open = vec![first];
        while let Some(job) = open.pop() {
            if wanted.insert(&job.id) {
                open.extend(job.needs.iter().filter_map(|need| find(need.as_str())));
            }
        }
        Ok(self.jobs.iter().filter(|job| wanted.contains(&job.id)).cloned().collect())
    }
}
