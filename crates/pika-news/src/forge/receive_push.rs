//! Takes in what git has: by a hook's word at once, and by comparing all refs now and then.
//!
//! Invariant: level-triggered. A hook only says where to look; what counts is where the ref is when it is looked at, so
//! that a hook that is lost, late or repeated changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pika_git::{BranchName, BranchNameError, Oid};

use super::push_rules::RefMove;
use super::state::{BranchState, Selection};
use super::view::{Change, PushReceipt, PushedBranch};
use super::{Forge, ForgeError, Hosted};
use crate::ci::select::{self, Subject};
use crate::hook::{Push, PushAnswer, PushedRef};
use crate::hook_socket::PushReceiver;
use crate::store::{BranchHead, NewHead, RecordedHead};

/// How many commits of a move of the default branch are held against the branches.
const TAKEN_IN_MAX: usize = 10_000;

/// A reference that a hook says has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// The full name.
    pub reference: String,
}

impl Forge {
    /// Takes in a push. What goes wrong with one branch is a note on that branch and stops no other.
    pub async fn receive_push(
        &self,
        repository: &str,
        actor: Option<&str>,
        updates: &[RefUpdate],
    ) -> Result<PushReceipt, ForgeError> {
        let hosted = self.hosted(repository)?;
        let mut receipt = PushReceipt::default();
        let mut branches: Vec<BranchName> = Vec::new();
        for update in updates {
            match BranchName::parse_reference(&update.reference) {
                Some(Ok(branch)) => branches.push(branch),
                Some(Err(error)) => receipt.branches.push(unnamable(&update.reference, &error)),
                None => {}
            }
        }
        // A tag is no branch, and the mirror's all the same.
        hosted.live.moved.notify_one();
        let _refs = hosted.live.refs.lock().await;
        let known = self.known_branches(&hosted).await?;
        for branch in &branches {
            let found = match hosted.git.find_branch(branch).await {
                Ok(found) => {
                    self.take_in(&hosted, branch, found.as_ref(), known.get(branch.as_str()), actor).await
                }
                Err(error) => Err(error.into()),
            };
            receipt.branches.extend(found.unwrap_or_else(|error| Some(faulty(&hosted, branch, &error))));
        }
        Ok(receipt)
    }

    /// Compares the refs of one repository with its branches, and takes in what differs.
    pub async fn reconcile(&self, repository: &str) -> Result<(), ForgeError> {
        let hosted = self.hosted(repository)?;
        let _refs = hosted.live.refs.lock().await;
        let known = self.known_branches(&hosted).await?;
        let found: BTreeMap<BranchName, Oid> = hosted.git.list_branches().await?.into_iter().collect();
        let mut first_problem = None;
        // The default branch comes first: what it requires counts for the others.
        let mut branches: Vec<(&BranchName, Option<&Oid>)> =
            found.iter().map(|(branch, oid)| (branch, Some(oid))).collect();
        branches.sort_by_key(|(branch, _)| !hosted.is_default(branch.as_str()));
        let gone: Vec<BranchName> = known
            .keys()
            .filter_map(|name| BranchName::parse(name).ok())
            .filter(|name| !found.contains_key(name))
            .collect();
        branches.extend(gone.iter().map(|branch| (branch, None)));
        for (branch, oid) in branches {
            if let Err(error) = self.take_in(&hosted, branch, oid, known.get(branch.as_str()), None).await {
                faulty(&hosted, branch, &error);
                first_problem = first_problem.or(Some(error));
            }
        }
        first_problem.map_or(Ok(()), Err)
    }

    /// Reconciles every repository; a failure is kept with its repository.
    pub(crate) async fn reconcile_all(&self) {
        for hosted in self.all_hosted() {
            let problem = self.reconcile(&hosted.config.name).await.err();
            if let Some(error) = &problem {
                tracing::warn!(repository = hosted.config.name, %error, "the refs could not be compared");
            }
            hosted.set_problem(problem.map(|error| error.to_string()));
        }
    }

    async fn known_branches(&self, hosted: &Hosted) -> Result<BTreeMap<String, BranchHead>, ForgeError> {
        let known = self.store().list_branch_heads(hosted.id).await?;
        Ok(known.into_iter().map(|branch| (branch.name.clone(), branch)).collect())
    }

    /// Takes in where a branch is. `None`: nothing is to be said about it.
    ///
    /// The caller holds the repository's `refs`.
    pub(super) async fn take_in(
        &self,
        hosted: &Hosted,
        branch: &BranchName,
        found: Option<&Oid>,
        known: Option<&BranchHead>,
        actor: Option<&str>,
    ) -> Result<Option<PushedBranch>, ForgeError> {
        match (found, known) {
            (None, None) => Ok(None),
            (None, Some(known)) => {
                self.end_branch(hosted, known, BranchState::Deleted).await?;
                Ok(None)
            }
            // Closed and merged branches stay so until something new is pushed.
            (Some(oid), Some(known)) if known.oid == oid.as_str() && known.state != BranchState::Deleted => {
                Ok(Some(pushed(hosted, branch, Some(known.id.0), Vec::new(), Vec::new())))
            }
            (Some(oid), known) => self.record(hosted, branch, oid, known, actor).await.map(Some),
        }
    }

    async fn record(
        &self,
        hosted: &Hosted,
        branch: &BranchName,
        oid: &Oid,
        known: Option<&BranchHead>,
        actor: Option<&str>,
    ) -> Result<PushedBranch, ForgeError> {
        let previous = known.and_then(|known| Oid::parse(&known.oid).ok());
        let subject = Subject {
            git: &hosted.git,
            default_branch: &hosted.default_branch,
            branch,
            oid,
            previous: previous.as_ref(),
        };
        let selected = select::select(&subject).await?;
        let commit = selected.commit.as_ref();
        let new = NewHead {
            repository_id: hosted.id,
            branch: branch.as_str().to_owned(),
            oid: oid.to_string(),
            base_oid: selected.base.as_ref().map(Oid::to_string),
            is_orphan: selected.is_orphan,
            subject: commit.map(|commit| commit.subject.clone()).unwrap_or_default(),
            author: commit.map(|commit| commit.author_name.clone()).unwrap_or_default(),
            selection: selected.selection.clone(),
            lanes: selected.lanes,
            has_tutorial: !hosted.is_default(branch.as_str()) && self.tutorials().has_writer(),
            pushed_by: actor.map(str::to_owned),
            now_ms: self.now_ms(),
        };
        let recorded = self.store().record_head(new).await?;
        crate::metrics::pushed();
        self.ci().wake();
        self.tutorials().wake_for(recorded.branch_id, Some(recorded.head_id));
        self.warm(hosted, recorded.head_id);
        let RecordedHead { branch_id, queued, superseded, .. } = recorded;
        for id in superseded {
            self.ci().cancel(id);
        }
        self.announce(Change { repository: hosted.config.name.clone(), branch_id, lane_run_id: None });
        if let (true, Some(previous)) = (hosted.is_default(branch.as_str()), &previous) {
            // Its failure costs a label, not the push.
            if let Err(error) = self.note_merged(hosted, previous, oid).await {
                let repository = &hosted.config.name;
                tracing::warn!(repository, %error, "it could not be told which branches were merged");
            }
        }
        let mut notes = Vec::new();
        match selected.selection {
            Selection::Selected => {}
            Selection::NoManifest => notes.push("no pikaci.toml here: nothing is tested".to_owned()),
            Selection::ManifestError { message, .. } => notes.extend(message.lines().map(str::to_owned)),
        }
        if selected.is_orphan {
            let target = &hosted.default_branch;
            notes.push(format!("this branch shares no history with {}; it can't be merged", target.as_str()));
        }
        Ok(pushed(hosted, branch, Some(branch_id.0), queued, notes))
    }

    /// Notes which open branches the default branch has taken in by its move from `old` to `new`: somebody merged them
    /// with git. A branch that was part of it before, such as one that was just made of it, stays open.
    async fn note_merged(&self, hosted: &Hosted, old: &Oid, new: &Oid) -> Result<(), ForgeError> {
        let taken_in = hosted.git.list_commits(Some(old), new, TAKEN_IN_MAX).await?;
        for branch in self.store().list_branch_heads(hosted.id).await? {
            let is_taken_in = branch.state == BranchState::Open
                && !hosted.is_default(&branch.name)
                && taken_in.iter().any(|commit| commit.oid.as_str() == branch.oid);
            let Ok(name) = BranchName::parse(&branch.name) else { continue };
            // A newer head that the forge has not heard of keeps the branch open.
            if is_taken_in
                && hosted.git.find_branch(&name).await?.is_none_or(|oid| oid.as_str() == branch.oid)
            {
                self.end_branch(hosted, &branch, BranchState::Merged).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn end_branch(
        &self,
        hosted: &Hosted,
        branch: &BranchHead,
        state: BranchState,
    ) -> Result<(), ForgeError> {
        for id in self.store().end_branch(branch.id, state, self.now_ms()).await? {
            self.ci().cancel(id);
        }
        self.tutorials().wake_for(branch.id, None);
        let repository = hosted.config.name.clone();
        self.announce(Change { repository, branch_id: branch.id, lane_run_id: None });
        Ok(())
    }
}

fn pushed(
    hosted: &Hosted,
    branch: &BranchName,
    id: Option<i64>,
    queued: Vec<String>,
    notes: Vec<String>,
) -> PushedBranch {
    let path = id.map(|id| format!("/news/{}/branch/{id}", hosted.config.name));
    let id = id.map(super::id::BranchId);
    PushedBranch { name: branch.as_str().to_owned(), id, path, queued, notes }
}

/// Notes that a branch could not be taken in; the forge tries again by itself.
fn faulty(hosted: &Hosted, branch: &BranchName, error: &ForgeError) -> PushedBranch {
    let repository = &hosted.config.name;
    tracing::error!(repository, branch = branch.as_str(), %error, "a branch could not be taken in");
    hosted.set_problem(Some(format!("branch {}: {error}", branch.as_str())));
    let note = format!("{error}; the forge tries again by itself");
    pushed(hosted, branch, None, Vec::new(), vec![note])
}

/// Tells a pusher that git took a branch which this forge does not follow: without a word it would be waited for.
fn unnamable(reference: &str, error: &BranchNameError) -> PushedBranch {
    let notes = vec![format!("{error}; the forge does not follow it: use another name")];
    PushedBranch { name: reference.to_owned(), id: None, path: None, queued: Vec::new(), notes }
}

impl PushReceiver for Forge {
    async fn receive(&self, push: Push) -> PushAnswer {
        let Push { repository, actor, updates, .. } = push;
        let Some(name) = self.find_repository_at(&repository) else {
            return PushAnswer { lines: vec![unknown_repository(&repository)], is_allowed: false };
        };
        let updates: Vec<RefUpdate> =
            updates.into_iter().map(|PushedRef { reference, .. }| RefUpdate { reference }).collect();
        // On a task of its own: what was begun is finished, whatever becomes of the hook.
        let forge = self.clone();
        let received =
            tokio::spawn(async move { forge.receive_push(&name, actor.as_deref(), &updates).await });
        let lines = match received.await {
            Ok(Ok(receipt)) => receipt.branches.iter().flat_map(|branch| self.lines(branch)).collect(),
            Ok(Err(error)) => vec![format!("pika: {error}; the push is stored and is looked at again")],
            Err(_) => vec!["pika: the push is stored and is looked at again".to_owned()],
        };
        PushAnswer { lines, is_allowed: true }
    }

    async fn check(&self, push: Push) -> PushAnswer {
        let refused = match self.refusals(&push).await {
            Ok(refused) => refused,
            Err(error) => vec![format!("{error}; nothing is stored, push again in a minute")],
        };
        PushAnswer {
            is_allowed: refused.is_empty(),
            lines: refused.iter().map(|why| format!("pika: {why}")).collect(),
        }
    }
}

impl Forge {
    /// Why a push may not be stored; empty when it may. One reference that may not move refuses all of it.
    async fn refusals(&self, push: &Push) -> Result<Vec<String>, ForgeError> {
        let Some(name) = self.find_repository_at(&push.repository) else {
            return Ok(vec!["the forge serves this repository no longer".to_owned()]);
        };
        let hosted = self.hosted(&name)?;
        // Who they are was found out before git began; what they may is looked up now.
        let role = self.store().find_role(hosted.id, push.actor.clone().unwrap_or_default()).await?;
        let decided = push.updates.iter().map(|update| {
            let change = match (&update.old, &update.new) {
                (_, None) => RefMove::Delete,
                (None, Some(_)) => RefMove::Create,
                (Some(_), Some(_)) if update.is_fast_forward => RefMove::Forward,
                (Some(_), Some(_)) => RefMove::Force,
            };
            hosted.rules.decide(role, &update.reference, change)
        });
        let refused: Vec<String> = decided.filter_map(Result::err).collect();
        if !refused.is_empty() {
            let actor = push.actor.as_deref();
            tracing::info!(
                repository = name,
                actor,
                first = refused[0],
                count = refused.len(),
                "a push was refused"
            );
        }
        Ok(refused)
    }

    /// What a pusher reads about one branch.
    fn lines(&self, branch: &PushedBranch) -> Vec<String> {
        let mut lines = Vec::new();
        match &branch.path {
            Some(path) => lines.push(format!("pika: {}: {}{path}", branch.name, self.config().public_url)),
            None => lines.push(format!("pika: {}", branch.name)),
        }
        if !branch.queued.is_empty() {
            lines.push(format!("pika:   queued {}", branch.queued.join(", ")));
        }
        lines.extend(branch.notes.iter().map(|note| format!("pika:   {note}")));
        lines
    }
}

fn unknown_repository(path: &std::path::Path) -> String {
    let name = path.file_name().map(PathBuf::from).unwrap_or_default();
    format!("pika: the forge serves no repository {}; add it to its configuration", name.display())
}
