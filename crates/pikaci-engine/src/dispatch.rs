//! Decides which job may start. A pure machine: the run feeds it with what happened and does what it says.
//!
//! Invariants: at most `slots` jobs run at once, and one that waits to be tried again holds no slot; a job starts after
//! everything that it needs has passed; only a fault of the machinery is tried again, at most [`RETRIES_MAX`] times.

use std::collections::BTreeMap;
use std::time::Duration;

use pikaci::{JobId, JobSpec};

/// How often a job is tried again after a fault of the machinery.
pub const RETRIES_MAX: u32 = 2;

/// How long the first and the second retry wait.
#[derive(Clone, Copy, Debug)]
pub struct Backoff(pub [Duration; RETRIES_MAX as usize]);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff([Duration::from_secs(1), Duration::from_secs(4)])
    }
}

/// What the run must do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin an attempt.
    Start {
        /// The job.
        job: JobId,
        /// From 1.
        attempt: u32,
    },
    /// Record a job as never started.
    Skip {
        /// The job.
        job: JobId,
        /// What it needs and did not get; `None` when the run was cancelled.
        needed: Option<JobId>,
    },
}

/// What follows from the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The attempt's verdict is the job's.
    Final,
    /// The job is tried again: call [`Dispatch::retry`] after this time.
    RetryIn(Duration),
}

/// How far an earlier process came with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// An attempt was running.
    Running {
        /// The attempt, from 1.
        attempt: u32,
    },
    /// Its latest attempt had failed, and another was to follow.
    Failed {
        /// How many attempts there were.
        attempts: u32,
    },
    /// It was over.
    Ended {
        /// Whether it passed.
        has_passed: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running { attempt: u32 },
    BackingOff { attempt: u32 },
    Due { attempt: u32 },
    Ended { has_passed: bool },
}

/// The state of all jobs of a run.
#[derive(Debug)]
pub struct Dispatch {
    order: Vec<JobId>,
    needs: BTreeMap<JobId, Vec<JobId>>,
    states: BTreeMap<JobId, State>,
    slots: usize,
    backoff: Backoff,
    is_cancelled: bool,
}

impl Dispatch {
    /// Begins with every job waiting. A need that is no job of `jobs` counts as passed: in a rerun, it did.
    pub fn new(jobs: &[JobSpec], slots: usize, backoff: Backoff) -> Dispatch {
        Dispatch {
            order: jobs.iter().map(|job| job.id.clone()).collect(),
            needs: jobs.iter().map(|job| (job.id.clone(), job.needs.clone())).collect(),
            states: jobs.iter().map(|job| (job.id.clone(), State::Waiting)).collect(),
            slots: slots.max(1),
            backoff,
            is_cancelled: false,
        }
    }

    /// Takes over what an earlier process came to. A job that is not named waits.
    pub fn restore(&mut self, job: &JobId, reached: Reached) {
        let state = match reached {
            Reached::Running { attempt } => State::Running { attempt },
            Reached::Failed { attempts } => State::Due { attempt: attempts + 1 },
            Reached::Ended { has_passed } => State::Ended { has_passed },
        };
        if let Some(known) = self.states.get_mut(job) {
            *known = state;
        }
    }

    /// What can be done now. Call it after every change; what it returned is taken as done.
    pub fn decide(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        // A skipped job may be what the next one needed: go on until nothing changes.
        loop {
            let before = actions.len();
            for job in self.order.clone() {
                if let Some(action) = self.step(&job) {
                    actions.push(action);
                }
            }
            if actions.len() == before {
                return actions;
            }
        }
    }

    fn step(&mut self, job: &JobId) -> Option<Action> {
        let attempt = match self.states.get(job)? {
            State::Waiting => 1,
            State::Due { attempt } => *attempt,
            State::BackingOff { .. } if self.is_cancelled => 0,
            State::Running { .. } | State::BackingOff { .. } | State::Ended { .. } => return None,
        };
        if self.is_cancelled {
            self.states.insert(job.clone(), State::Ended { has_passed: false });
            return Some(Action::Skip { job: job.clone(), needed: None });
        }
        for need in self.needs.get(job).into_iter().flatten() {
            match self.states.get(need) {
                None | Some(State::Ended { has_passed: true }) => {}
                Some(State::Ended { has_passed: false }) => {
                    let needed = Some(need.clone());
                    self.states.insert(job.clone(), State::Ended { has_passed: false });
                    return Some(Action::Skip { job: job.clone(), needed });
                }
                Some(_) => return None,
            }
        }
        if self.running() >= self.slots {
            return None;
        }
        self.states.insert(job.clone(), State::Running { attempt });
        Some(Action::Start { job: job.clone(), attempt })
    }

    fn running(&self) -> usize {
        self.states.values().filter(|state| matches!(state, State::Running { .. })).count()
    }

    /// Notes the end of an attempt.
    pub fn ended(&mut self, job: &JobId, has_passed: bool, is_retryable: bool) -> After {
        let attempt = match self.states.get(job) {
            Some(State::Running { attempt }) => *attempt,
            _ => 1,
        };
        let wait = usize::try_from(attempt - 1).ok().and_then(|retry| self.backoff.0.get(retry)).copied();
        match wait.filter(|_| is_retryable && !self.is_cancelled) {
            Some(wait) => {
                self.states.insert(job.clone(), State::BackingOff { attempt: attempt + 1 });
                After::RetryIn(wait)
            }
            None => {
                self.states.insert(job.clone(), State::Ended { has_passed });
                After::Final
            }
        }
    }

    /// Notes that a job's back-off is over.
    pub fn retry(&mut self, job: &JobId) {
        if let Some(State::BackingOff { attempt }) = self.states.get(job).copied() {
            self.states.insert(job.clone(), State::Due { attempt });
        }
    }

    /// Starts nothing more. What runs is the executor's to stop.
    pub fn cancel(&mut self) {
        self.is_cancelled = true;
    }

    /// Whether every job has ended.
    pub fn is_over(&self) -> bool {
        self.states.values().all(|state| matches!(state, State::Ended { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::sample_shell_job;

    fn id(text: &str) -> JobId {
        JobId::parse(text).unwrap()
    }

    fn dispatch(jobs: &[(&str, &[&str])], slots: usize) -> Dispatch {
        let jobs: Vec<JobSpec> = jobs
            .iter()
            .map(|(name, needs)| JobSpec {
                needs: needs.iter().map(|need| id(need)).collect(),
                ..sample_shell_job(name, "true")
            })
            .collect();
        Dispatch::new(&jobs, slots, Backoff::default())
    }

    fn words(actions: Vec<Action>) -> String {
        let word = |action| match action {
            Action::Start { job, attempt } => format!("start {job} {attempt}"),
            Action::Skip { job, needed: Some(needed) } => format!("skip {job} for {needed}"),
            Action::Skip { job, needed: None } => format!("cancel {job}"),
        };
        actions.into_iter().map(word).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn slots_bound_what_runs_and_needs_what_starts() {
        let mut dispatch = dispatch(&[("a", &[]), ("b", &["a"]), ("c", &[]), ("d", &[])], 2);
        assert_eq!(words(dispatch.decide()), "start a 1, start c 1");
        assert_eq!(words(dispatch.decide()), "");
        dispatch.ended(&id("a"), true, false);
        assert_eq!(words(dispatch.decide()), "start b 1");
        dispatch.ended(&id("c"), true, false);
        assert_eq!(words(dispatch.decide()), "start d 1");
        dispatch.ended(&id("b"), true, false);
        dispatch.ended(&id("d"), false, false);
        assert!(dispatch.is_over());
    }

    #[test]
    fn what_needs_a_job_that_did_not_pass_is_skipped_and_so_on() {
        let mut dispatch = dispatch(&[("c", &["b"]), ("b", &["a"]), ("a", &[])], 1);
        assert_eq!(words(dispatch.decide()), "start a 1");
        assert_eq!(dispatch.ended(&id("a"), false, false), After::Final);
        assert_eq!(words(dispatch.decide()), "skip b for a, skip c for b");
        assert!(dispatch.is_over());
    }

    #[test]
    fn only_the_machinery_is_retried_and_only_twice() {
        let mut dispatch = dispatch(&[("a", &[]), ("b", &[])], 1);
        assert_eq!(words(dispatch.decide()), "start a 1");
        assert_eq!(dispatch.ended(&id("a"), false, true), After::RetryIn(Duration::from_secs(1)));
        assert_eq!(words(dispatch.decide()), "start b 1");
        dispatch.retry(&id("a"));
        assert_eq!(words(dispatch.decide()), "");
        assert_eq!(dispatch.ended(&id("b"), true, false), After::Final);
        assert_eq!(words(dispatch.decide()), "start a 2");
        assert_eq!(dispatch.ended(&id("a"), false, true), After::RetryIn(Duration::from_secs(4)));
        dispatch.retry(&id("a"));
        assert_eq!(words(dispatch.decide()), "start a 3");
        assert_eq!(dispatch.ended(&id("a"), false, true), After::Final);
        assert!(dispatch.is_over());
    }

    #[test]
    fn after_a_cancel_nothing_starts_and_nothing_is_retried() {
        let mut dispatch = dispatch(&[("a", &[]), ("b", &[]), ("c", &["a"])], 2);
        dispatch.decide();
        dispatch.ended(&id("b"), false, true);
        dispatch.cancel();
        assert_eq!(words(dispatch.decide()), "cancel b, cancel c");
        assert_eq!(dispatch.ended(&id("a"), false, true), After::Final);
        assert!(dispatch.is_over());
    }
}
