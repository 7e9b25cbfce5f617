//! What a reader is told of a head: its tutorial, where that stands, and what changed since they last looked.
//!
//! Invariant: the diff and a tutorial of it can be shown whatever a writer does. What is shown for a head is that head's own,
//! or says for which one it was written.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use pika_tutorial::{Coverage, Diff, Explained, FileEntry, Interdiff, Sources, Tutorial, reanchor};
use serde::Serialize;

use super::error::parse_oid;
use super::id::{BranchId, HeadId, RepositoryId};
use super::view::Change;
use super::{Forge, ForgeError, Hosted};
use crate::store::{HeadRecord, TutorialRecord, TutorialStatus};
use crate::tutorials::{Comparison, Prepared};

/// The longest key of a step that is stored.
const KEY_BYTES_MAX: usize = 64;

/// Where the tutorial of a head stands.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TutorialState {
    /// The branch.
    pub branch_id: BranchId,
    /// The head.
    pub head: String,
    /// Who is asked: `builtin`, `openai`, `anthropic` or `command`.
    pub provider: String,
    /// Which model is asked.
    pub model: Option<String>,
    /// Where it stands; absent when no writer was asked for this head.
    pub status: Option<TutorialStatus>,
    /// What failed last.
    pub failure: Option<String>,
    /// Whether it can be asked for again.
    pub can_retry: bool,
    /// How often its writer was asked since it was last asked for.
    pub tries: u32,
    /// How often it is at most.
    pub tries_max: u32,
    /// When it is tried again, while it waits for that.
    pub next_try_at_ms: Option<i64>,
    /// When it was last begun.
    pub started_at_ms: Option<i64>,
    /// When it came to its end.
    pub finished_at_ms: Option<i64>,
    /// What it took, all attempts together.
    pub cost: TutorialCost,
    /// What is shown meanwhile or instead.
    pub shown: Shown,
}

/// What a tutorial took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TutorialCost {
    /// How often a writer was asked.
    pub attempts: u32,
    /// How long it took.
    pub duration_ms: u64,
    /// How many tokens were read.
    pub input_tokens: u64,
    /// How many tokens were written.
    pub output_tokens: u64,
    /// What it cost, as far as is known.
    pub usd: Option<f64>,
}

/// Which tutorial is shown for a head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Shown {
    /// The one that was written for it.
    Own,
    /// The one of an earlier head, carried over: what it shows that has changed is marked.
    Earlier {
        /// That head.
        head: String,
        /// How many of its steps hold as they were.
        kept: usize,
        /// How many are marked as stale.
        stale: usize,
    },
    /// The builtin one.
    Builtin,
}

/// A head, explained.
#[derive(Clone)]
pub struct ExplainedHead {
    /// Where its tutorial stands.
    pub state: TutorialState,
    /// The tutorial that is shown.
    pub explained: Arc<Explained>,
    /// The diff that it shows.
    pub diff: Arc<Diff>,
}

/// What changed between two heads of a branch.
#[derive(Clone)]
pub struct Since {
    /// The earlier head.
    pub from: String,
    /// The later head.
    pub to: String,
    /// Which hunks are unchanged, changed, new, taken back.
    pub interdiff: Interdiff,
    /// A short tutorial of what is new, made by the program.
    pub explained: Explained,
    /// What differs between the two, without what another base brought.
    pub diff: Arc<Diff>,
}

impl Forge {
    /// Explains a head of a branch, at once: with its own tutorial, an earlier one, or the builtin one.
    pub async fn explained(
        &self,
        repository: &str,
        branch: BranchId,
        head: &str,
    ) -> Result<ExplainedHead, ForgeError> {
        let hosted = self.hosted(repository)?;
        let head = self.head_record(&hosted, branch, head).await?;
        let prepared = self.prepare_head(hosted.id, head.id).await?;
        let record = self.store().find_tutorial(head.id).await?;
        let (explained, shown) = self.shown(&hosted, &head, record.as_ref(), &prepared).await?;
        let state = self.state_of(branch, &head, record, shown);
        Ok(ExplainedHead { state, explained, diff: Arc::clone(prepared.diff()) })
    }

    /// Asks for a tutorial once more.
    pub async fn retry_tutorial(
        &self,
        repository: &str,
        branch: BranchId,
        head: &str,
        actor: &str,
    ) -> Result<(), ForgeError> {
        let hosted = self.hosted(repository)?;
        let head = self.head_record(&hosted, branch, head).await?;
        if !self.tutorials().has_writer() {
            return Err(ForgeError::refused(
                "no writer is configured; set `provider` in the section [tutorial] of the forge's configuration",
            ));
        }
        if self.branch_record(&hosted, branch).await?.head_id != head.id {
            return Err(ForgeError::refused("the branch has a newer head; look at it again"));
        }
        if !self.store().retry_tutorial(head.id, actor, self.now_ms()).await? {
            return Err(ForgeError::refused("it is being written already"));
        }
        self.tutorials().wake_for(branch, Some(head.id));
        self.announce(Change { repository: repository.to_owned(), branch_id: branch, lane_run_id: None });
        Ok(())
    }

    /// The keys of the steps of a branch that a user has ticked off.
    pub async fn ticks(&self, user: i64, branch: BranchId) -> Result<HashSet<String>, ForgeError> {
        Ok(self.store().list_ticks(user, branch).await?)
    }

    /// Ticks a step off for a user, or takes that back.
    pub async fn tick(
        &self,
        user: i64,
        branch: BranchId,
        step_key: &str,
        is_ticked: bool,
    ) -> Result<(), ForgeError> {
        let is_key = (1..=KEY_BYTES_MAX).contains(&step_key.len())
            && step_key.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_key {
            return Err(ForgeError::Invalid { problem: "that is no key of a step".to_owned() });
        }
        Ok(self.store().set_tick(user, branch, step_key, is_ticked, self.now_ms()).await?)
    }

    /// Notes that a user looks at a head, and says at which they looked before, if at another one.
    pub async fn look(
        &self,
        user: i64,
        repository: &str,
        branch: BranchId,
        head: &str,
    ) -> Result<Option<String>, ForgeError> {
        let hosted = self.hosted(repository)?;
        let head = self.head_record(&hosted, branch, head).await?;
        let known = self.store().find_look(user, branch).await?;
        let previous = match known {
            Some((seen, previous)) if seen == head.id => previous,
            found => {
                self.store().note_look(user, branch, head.id, self.now_ms()).await?;
                found.map(|(seen, _)| seen)
            }
        };
        let Some(previous) = previous.filter(|previous| *previous != head.id) else { return Ok(None) };
        Ok(self.store().find_head_by_id(previous).await?.map(|found| found.oid))
    }

    /// Notes that a user has seen what changed up to a head.
    pub async fn note_seen(
        &self,
        user: i64,
        repository: &str,
        branch: BranchId,
        head: &str,
    ) -> Result<(), ForgeError> {
        let hosted = self.hosted(repository)?;
        let head = self.head_record(&hosted, branch, head).await?;
        Ok(self.store().note_seen(user, branch, head.id, self.now_ms()).await?)
    }

    /// Says what changed between two heads of a branch, each compared with its own base.
    pub async fn since(
        &self,
        repository: &str,
        branch: BranchId,
        from: &str,
        to: &str,
    ) -> Result<Since, ForgeError> {
        let hosted = self.hosted(repository)?;
        let (old, new) =
            (self.head_record(&hosted, branch, from).await?, self.head_record(&hosted, branch, to).await?);
        let before = self.prepare_head(hosted.id, old.id).await?;
        let after = self.prepare_head(hosted.id, new.id).await?;
        let title = format!("What changed since {}", old.oid.get(..12).unwrap_or(&old.oid));
        let heads = Comparison {
            title,
            base: Some(parse_oid(&old.oid)?),
            ..self.comparison(&hosted, branch, &new).await?
        };
        let between = self.tutorials().prepare(&hosted.git, &heads).await?;
        let (from, to) = (old.oid, new.oid);
        let is_rebased = old.base_oid != new.base_oid;
        let compared =
            tokio::task::spawn_blocking(move || compare(&before, &after, &between, is_rebased, from, to));
        compared.await.map_err(|_| ForgeError::refused("the two heads could not be compared"))
    }

    /// Reads the diff of a head and its builtin tutorial.
    pub(crate) async fn prepare_head(
        &self,
        repository: RepositoryId,
        head: HeadId,
    ) -> Result<Arc<Prepared>, ForgeError> {
        let missing = || ForgeError::not_found("such head");
        let hosted = self.hosted_by_id(repository).ok_or_else(missing)?;
        let head = self.store().find_head_by_id(head).await?.ok_or_else(missing)?;
        let comparison = self.comparison(&hosted, head.branch_id, &head).await?;
        self.tutorials().prepare(&hosted.git, &comparison).await
    }

    /// What a head is compared with, and what it is called.
    async fn comparison(
        &self,
        hosted: &Hosted,
        branch: BranchId,
        head: &HeadRecord,
    ) -> Result<Comparison, ForgeError> {
        let branch = self.store().find_branch(branch).await?;
        Ok(Comparison {
            repository: hosted.config.name.clone(),
            branch: branch.ok_or_else(|| ForgeError::not_found("such branch"))?.name,
            title: head.subject.clone(),
            base: head.base_oid.as_deref().map(parse_oid).transpose()?,
            head: parse_oid(&head.oid)?,
        })
    }

    /// Reads what the first reader of a head will ask for, unless that many heads are being read already.
    pub(super) fn warm(&self, hosted: &Hosted, head: HeadId) {
        let Some(place) = self.tutorials().find_place() else { return };
        let (forge, repository) = (self.clone(), hosted.id);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = forge.prepare_head(repository, head).await {
                tracing::debug!(%error, "the changes of a head could not be read");
            }
        });
    }

    async fn head_record(
        &self,
        hosted: &Hosted,
        branch: BranchId,
        head: &str,
    ) -> Result<HeadRecord, ForgeError> {
        self.branch_record(hosted, branch).await?;
        let found = self.store().find_head(branch, head).await?;
        found.ok_or_else(|| ForgeError::not_found("such head of this branch"))
    }

    /// Chooses the tutorial that is shown, and puts it on the head's diff.
    async fn shown(
        &self,
        hosted: &Hosted,
        head: &HeadRecord,
        record: Option<&TutorialRecord>,
        prepared: &Arc<Prepared>,
    ) -> Result<(Arc<Explained>, Shown), ForgeError> {
        if let Some(record) = record.filter(|record| record.content.is_some()) {
            let written = written(record, prepared, None).await;
            if let Some(explained) = written {
                return Ok((explained, Shown::Own));
            }
        }
        let earlier = self.store().find_earlier_tutorial(head.branch_id, head.id).await?;
        let Some(earlier) = earlier else { return Ok((Arc::clone(&prepared.builtin), Shown::Builtin)) };
        let Some(of) = self.store().find_head_by_id(earlier.head_id).await? else {
            return Ok((Arc::clone(&prepared.builtin), Shown::Builtin));
        };
        let moved = written(&earlier, prepared, Some(&of.oid)).await;
        let stale = |explained: &Explained| {
            explained.tutorial.steps.iter().filter(|step| step.stale_since.is_some()).count()
        };
        match moved {
            Some(explained) if stale(&explained) < explained.tutorial.steps.len() => {
                let stale = stale(&explained);
                let kept = explained.tutorial.steps.len() - stale;
                Ok((explained, Shown::Earlier { head: of.oid, kept, stale }))
            }
            _ => {
                tracing::debug!(repository = hosted.config.name, "no step of the earlier tutorial holds");
                Ok((Arc::clone(&prepared.builtin), Shown::Builtin))
            }
        }
    }

    fn state_of(
        &self,
        branch: BranchId,
        head: &HeadRecord,
        record: Option<TutorialRecord>,
        shown: Shown,
    ) -> TutorialState {
        let tutorials = self.tutorials();
        let status = record.as_ref().map(|record| record.status);
        let is_done = matches!(status, Some(TutorialStatus::Written | TutorialStatus::CarriedOver));
        let waits = |record: &TutorialRecord| {
            (record.status == TutorialStatus::Queued && record.not_before_ms > 0)
                .then_some(record.not_before_ms)
        };
        let next_try_at_ms = record.as_ref().and_then(waits);
        let is_idle = status.is_none_or(TutorialStatus::is_final) || next_try_at_ms.is_some();
        TutorialState {
            branch_id: branch,
            head: head.oid.clone(),
            provider: tutorials.provider().kind().to_string(),
            model: tutorials.provider().model().map(str::to_owned),
            status,
            can_retry: tutorials.has_writer() && !is_done && is_idle,
            tries: record.as_ref().map_or(0, |record| record.tries),
            tries_max: tutorials.tries_max(),
            next_try_at_ms,
            started_at_ms: record.as_ref().and_then(|record| record.started_at_ms),
            finished_at_ms: record.as_ref().and_then(|record| record.finished_at_ms),
            cost: record.as_ref().map_or_else(TutorialCost::default, |record| TutorialCost {
                attempts: record.attempts,
                duration_ms: record.duration_ms,
                input_tokens: record.input_tokens,
                output_tokens: record.output_tokens,
                usd: record.cost_usd,
            }),
            failure: record.and_then(|record| record.failure),
            shown,
        }
    }
}

/// Reads a stored tutorial; carries it over to the prepared diff when it is of another head.
async fn written(
    record: &TutorialRecord,
    prepared: &Arc<Prepared>,
    of: Option<&str>,
) -> Option<Arc<Explained>> {
    let name = format!("{}:{}", record.head_id, record.attempts);
    let known = prepared.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, explained)) = known.filter(|(known, _)| *known == name) {
        return Some(explained);
    }
    let (content, is_moved, on) = (record.content.clone()?, of.is_some(), Arc::clone(prepared));
    let read = tokio::task::spawn_blocking(move || {
        let explained: Explained = serde_json::from_str(&content).ok()?;
        if !is_moved {
            return Some(explained);
        }
        let moved = reanchor(&explained.tutorial, &on.change.about, on.diff());
        Some(Explained { tutorial: moved.tutorial, ..explained })
    });
    let explained = Arc::new(read.await.ok()??);
    let kept = Some((name, Arc::clone(&explained)));
    *prepared.shown.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    Some(explained)
}

fn compare(
    before: &Prepared,
    after: &Prepared,
    between: &Prepared,
    is_rebased: bool,
    from: String,
    to: String,
) -> Since {
    let (old, new) = (before.diff(), after.diff());
    let interdiff = Interdiff::compare(old, new);
    if !is_rebased {
        let mut explained = Explained::clone(&between.builtin);
        explained.tutorial.executive_summary = interdiff.summary(old, between.diff());
        return Since { from, to, interdiff, explained, diff: Arc::clone(between.diff()) };
    }
    let diff = Arc::new(interdiff.unseen(old, new, between.diff()));
    // The files themselves were let go; items are found in what the diff shows.
    let checked = interdiff.explain(old, &diff, &Sources::default());
    let tutorial = Tutorial {
        executive_summary: checked.executive_summary,
        steps: checked.steps,
        coverage: checked.coverage,
        files: FileEntry::list(&diff),
        ..between.builtin.tutorial.clone()
    };
    let explained = Explained { tutorial, ..Explained::clone(&between.builtin) };
    Since { from, to, interdiff, explained, diff }
}

impl TutorialState {
    /// The state as it is told to somebody. What a writer said when it failed may hold what is no reader's: a command's standard
    /// error, a server's address.
    pub fn told_to(mut self, may_write: bool) -> TutorialState {
        if !may_write && self.failure.is_some() {
            self.failure = Some("who may write to the repository sees why".to_owned());
        }
        self
    }
}

impl ExplainedHead {
    /// Which hunks the steps show.
    pub fn coverage(&self) -> &Coverage {
        &self.explained.tutorial.coverage
    }
}
