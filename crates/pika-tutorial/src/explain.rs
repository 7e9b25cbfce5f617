//! Asks a writer for a tutorial and makes the best of what comes: retries, one repair, and the builtin tutorial when
//! nothing can be used.
//!
//! Invariants: there is always a tutorial; it is in a final state by the deadline, give or take the grace of a process that
//! has to be killed; a step that held once is in the result unless a later answer shows the same hunks.

mod merge;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::area::list_areas;
use crate::attributes::Attributes;
use crate::builtin::explain_by_program;
use crate::check::{Checked, check};
use crate::diff::Diff;
use crate::finding::Finding;
use crate::provider::{AskError, Provider, ProviderKind, Usage};
use crate::read::read;
use crate::request::{Plan, PlanLimits, Request};
use crate::sources::Sources;
use crate::tutorial::{About, FileEntry, NotShown, SCHEMA_VERSION, StepState, Tutorial};

/// What is to be explained. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its names.
    pub about: About,
    /// The diff.
    pub diff: Arc<Diff>,
    /// The files before and after, as far as they are there.
    pub sources: Arc<Sources>,
}

/// How much may be spent on a tutorial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExplainOptions {
    /// For everything together.
    pub deadline: Duration,
    /// How often one request is sent, failures that may pass included.
    pub tries_max: u32,
    /// How long is waited before the second try; each further one doubles it. A server that names a time is obeyed.
    pub delay: Duration,
    /// Whether a writer may mend its answer once.
    pub has_repair: bool,
    /// How much a writer is shown.
    pub limits: PlanLimits,
}

impl Default for ExplainOptions {
    fn default() -> ExplainOptions {
        ExplainOptions {
            deadline: Duration::from_secs(600),
            tries_max: 3,
            delay: Duration::from_secs(2),
            has_repair: true,
            limits: PlanLimits::default(),
        }
    }
}

/// A tutorial, and how it came to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The tutorial.
    #[serde(flatten)]
    pub tutorial: Tutorial,
    /// How the attempt ended.
    #[serde(flatten)]
    pub end: End,
    /// Each time that the writer was asked.
    pub calls: Vec<Call>,
    /// How long everything took.
    pub duration_ms: u64,
    /// What all calls took together, as far as the writer said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How many quotations and references were made up, and dropped.
    pub inventions: usize,
}

/// How an attempt at a tutorial ended. All of them are final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum End {
    /// The writer's tutorial.
    Written,
    /// The writer's tutorial of some parts of the change; the others could not be had.
    Partial {
        /// Why.
        reason: String,
    },
    /// The builtin tutorial, because the writer could not be asked, or answered nothing of use.
    FellBack {
        /// Why.
        reason: String,
    },
}

impl End {
    /// Whether another attempt could end better.
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            End::Written => false,
            End::Partial { .. } | End::FellBack { .. } => true,
        }
    }
}

/// One time that the writer was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// What for.
    pub purpose: Purpose,
    /// How long it took.
    pub duration_ms: u64,
    /// What it took, as far as the writer said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What a writer was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The whole tutorial.
    Whole,
    /// One part of it.
    Part,
    /// To join the parts.
    Join,
    /// To mend an answer.
    Repair,
}

/// Explains a change. Drop the future to cancel.
pub async fn explain(change: &Change, provider: &Provider, options: &ExplainOptions) -> Explained {
    let started_at = Instant::now();
    let builtin = {
        let change = change.clone();
        move || explain_by_program(&change.diff, &change.sources)
    };
    if provider.kind() == ProviderKind::Builtin {
        let checked = off_thread(builtin).await.unwrap_or_else(|| empty(&change.diff));
        return finish(change, provider, checked, Vec::new(), End::Written, Vec::new(), started_at);
    }
    let attributes = Attributes::read(&change.diff, &change.sources);
    let areas = list_areas(&change.diff, &attributes);
    let plan = Plan::new(&change.about, &change.diff, &areas, options.limits);
    let mut attempt = Attempt {
        change,
        provider,
        options,
        ends_at: started_at + options.deadline,
        calls: Vec::new(),
        failure: None,
    };
    let written = attempt.write(&plan).await;
    let (calls, failure) = (attempt.calls, attempt.failure);
    let not_shown = plan.not_shown().to_vec();
    match written {
        Some(checked) if is_usable(&checked) => {
            let end = match failure {
                Some(reason) => End::Partial { reason },
                None => End::Written,
            };
            finish(change, provider, checked, not_shown, end, calls, started_at)
        }
        written => {
            let reason = failure.unwrap_or_else(|| "nothing in the answer holds against the diff".to_owned());
            let mut checked = off_thread(builtin).await.unwrap_or_else(|| empty(&change.diff));
            let answer_findings = written.map(|written| written.findings).unwrap_or_default();
            checked.findings.splice(0..0, answer_findings);
            let what = format!(
                "the provider {} gave no tutorial: {reason}; this one is the builtin one",
                provider.kind()
            );
            checked.findings.insert(0, Finding::Provider { what });
            finish(
                change,
                &Provider::builtin(),
                checked,
                Vec::new(),
                End::FellBack { reason },
                calls,
                started_at,
            )
        }
    }
}

/// Parsing takes a while; whoever shares this thread need not wait.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// What is left when even the program failed: the counts, and every hunk as unexplained.
fn empty(diff: &Diff) -> Checked {
    let mut checked = check(diff, &crate::answer::Answer::default());
    checked.findings.push(Finding::Provider { what: "the program failed; please report it".to_owned() });
    checked
}

fn is_usable(checked: &Checked) -> bool {
    checked.steps.iter().any(|step| step.state != StepState::Unsupported)
}

fn finish(
    change: &Change,
    provider: &Provider,
    checked: Checked,
    not_shown: Vec<NotShown>,
    end: End,
    calls: Vec<Call>,
    started_at: Instant,
) -> Explained {
    let usage = calls.iter().filter_map(|call| call.usage).reduce(|one, two| one + two);
    let inventions = checked.findings.iter().filter(|finding| finding.is_invention()).count();
    let mut problems: Vec<String> =
        change.diff.problems().iter().map(|problem| format!("the diff: {problem}")).collect();
    problems.extend(checked.findings.iter().map(ToString::to_string));
    let tutorial = Tutorial {
        schema_version: SCHEMA_VERSION,
        about: change.about.clone(),
        provider: provider.kind().to_string(),
        model: provider.model().map(str::to_owned),
        executive_summary: checked.executive_summary,
        steps: checked.steps,
        coverage: checked.coverage,
        problems,
        files: FileEntry::list(&change.diff),
        not_shown,
    };
    Explained { tutorial, end, calls, duration_ms: millis(started_at.elapsed()), usage, inventions }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Attempt<'a> {
    change: &'a Change,
    provider: &'a Provider,
    options: &'a ExplainOptions,
    ends_at: Instant,
    calls: Vec<Call>,
    /// The last failure that cost something.
    failure: Option<String>,
}

/// An answer that was read and checked.
struct Attempted {
    bytes: Vec<u8>,
    checked: Checked,
    is_readable: bool,
}

impl Attempt<'_> {
    async fn write(&mut self, plan: &Plan<'_>) -> Option<Checked> {
        let requests = plan.requests();
        let purpose = if requests.len() == 1 { Purpose::Whole } else { Purpose::Part };
        let mut parts = Vec::new();
        for request in &requests {
            if let Some(part) = self.answer(request, purpose).await {
                parts.push(part);
            }
        }
        if requests.len() == 1 {
            return parts.pop();
        }
        if parts.is_empty() {
            return None;
        }
        let joined = merge::concatenated(&self.change.diff, &parts);
        let join = plan.join_request(&parts);
        match self.answer(&join, Purpose::Join).await {
            Some(written) if is_usable(&written) => Some(merge::keeping(&self.change.diff, written, &joined)),
            _ => Some(joined),
        }
    }

    /// Asks, and lets the writer mend the answer once.
    async fn answer(&mut self, request: &Request, purpose: Purpose) -> Option<Checked> {
        let first = self.ask(request, purpose).await?;
        let problems: Vec<String> = first
            .checked
            .findings
            .iter()
            .filter(|finding| finding.is_for_writer())
            .map(ToString::to_string)
            .collect();
        if problems.is_empty() || !self.options.has_repair {
            return self.judge(first);
        }
        let repair = request.repairing(&first.bytes, &problems);
        let failure_before = self.failure.clone();
        match self.ask(&repair, Purpose::Repair).await {
            Some(second) if second.is_readable => {
                let mut chosen = merge::better(&self.change.diff, first.checked, second.checked);
                let count = problems.len();
                let what =
                    format!("the first answer had {count} problems; its writer was asked once to mend them");
                chosen.findings.insert(0, Finding::Provider { what });
                self.judge(Attempted { bytes: second.bytes, checked: chosen, is_readable: true })
            }
            _ => {
                // The first answer stands; that it was not mended is no failure of its own.
                self.failure = failure_before;
                self.judge(first)
            }
        }
    }

    fn judge(&mut self, attempted: Attempted) -> Option<Checked> {
        if !attempted.is_readable {
            self.failure = Some("the answer holds no tutorial".to_owned());
        }
        Some(attempted.checked)
    }

    /// Asks until there is an answer, the tries are used up, or the time is.
    async fn ask(&mut self, request: &Request, purpose: Purpose) -> Option<Attempted> {
        let failure_before = self.failure.clone();
        let mut partial: Vec<u8> = Vec::new();
        let mut delay = self.options.delay;
        for number in 1..=self.options.tries_max.max(1) {
            let started_at = Instant::now();
            let result = self.provider.ask(request, self.ends_at).await;
            let duration_ms = millis(started_at.elapsed());
            let error = match result {
                Ok(answered) => {
                    self.calls.push(Call { purpose, duration_ms, usage: answered.usage, failure: None });
                    self.failure = failure_before;
                    let mut attempted = self.check(answered.bytes).await;
                    if let Some(what) = answered.remark {
                        attempted.checked.findings.push(Finding::Provider { what });
                    }
                    return Some(attempted);
                }
                Err(failed) => {
                    if failed.partial.len() > partial.len() {
                        partial = failed.partial;
                    }
                    failed.error
                }
            };
            self.calls.push(Call { purpose, duration_ms, usage: None, failure: Some(error.to_string()) });
            self.failure = Some(error.to_string());
            if number == self.options.tries_max || !error.is_passing() || !self.wait(&error, &mut delay).await
            {
                break;
            }
        }
        // What came before the failure may hold complete steps.
        let mut attempted = self.check(partial).await;
        if !is_usable(&attempted.checked) {
            return None;
        }
        let what = format!("the answer is not whole: {}", self.failure.clone().unwrap_or_default());
        attempted.checked.findings.push(Finding::Provider { what });
        Some(attempted)
    }

    /// Waits before the next try. Returns whether there is time for one.
    async fn wait(&self, error: &AskError, delay: &mut Duration) -> bool {
        let wanted = error.retry_after().unwrap_or(*delay);
        *delay = delay.saturating_mul(2);
        if Instant::now() + wanted >= self.ends_at {
            return false;
        }
        sleep(wanted).await;
        true
    }

    async fn check(&self, bytes: Vec<u8>) -> Attempted {
        let diff = self.change.diff.clone();
        off_thread(move || Attempted::new(bytes, &diff)).await.unwrap_or_else(|| Attempted {
            bytes: Vec::new(),
            checked: empty(&self.change.diff),
            is_readable: false,
        })
    }
}

impl Attempted {
    fn new(bytes: Vec<u8>, diff: &Diff) -> Attempted {
        let read = read(&bytes);
        let is_readable = read.answer.is_some();
        let mut checked = check(diff, &read.answer.unwrap_or_default());
        if !is_readable {
            checked.findings.clear();
        }
        checked.findings.splice(0..0, read.findings);
        Attempted { bytes, checked, is_readable }
    }
}
