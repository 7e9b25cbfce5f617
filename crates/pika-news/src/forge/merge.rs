//! Merges a branch: the commit first, then the intent, then one ref transaction, then the outcome.
//!
//! Invariants: what is merged is the head that the caller saw, and its required lanes are green; a restart between any
//! two steps is found again by its intent, and judged by where the ref is.

use pika_git::{BranchName, GitError, MergeError, MergeRequest, Oid, RefChange, RefTransaction, Signature};

use super::error::parse_oid;
use super::id::BranchId;
use super::push_rules::RefMove;
use super::view::{Change, Merged};
use super::{Forge, ForgeError, Hosted};
use crate::store::{BranchRecord, MergeIntent, NewMerge};

/// Who makes the merge commits.
const COMMITTER: &str = "pika";

impl Forge {
    /// Merges a branch into the default branch, if it is still at `expected_head` and ready.
    pub async fn merge(
        &self,
        repository: &str,
        id: BranchId,
        expected_head: &str,
        actor: &str,
    ) -> Result<Merged, ForgeError> {
        let hosted = self.hosted(repository)?.clone();
        let expected = parse_oid(expected_head)?;
        let (forge, actor) = (self.clone(), actor.to_owned());
        // On a task of its own: a client that hangs up does not stop it between two steps.
        let merged = tokio::spawn(async move { forge.merge_to_end(&hosted, id, &expected, &actor).await });
        merged.await.unwrap_or_else(|_| {
            Err(ForgeError::refused("the merge was interrupted; look at the branch again"))
        })
    }

    async fn merge_to_end(
        &self,
        hosted: &Hosted,
        id: BranchId,
        expected: &Oid,
        actor: &str,
    ) -> Result<Merged, ForgeError> {
        let _refs = hosted.live.refs.lock().await;
        // One whose outcome could not be stored must not stand in the way of this one.
        self.recover_merges_of(hosted).await;
        let branch = self.branch_record(hosted, id).await?;
        let name = BranchName::parse(&branch.name).map_err(|_| ForgeError::not_found("such branch"))?;
        self.check_head(hosted, &branch, &name, expected).await?;
        let readiness = self.branch_view(hosted, branch.clone()).await?.merge;
        if let Some(reason) = readiness.reason {
            return Err(ForgeError::Refused { reason });
        }
        let target = &hosted.default_branch;
        let role = self.store().find_role(hosted.id, actor.to_owned()).await?;
        let decided = hosted.rules.decide(role, &target.reference(), RefMove::Merge);
        decided.map_err(|reason| ForgeError::Refused { reason })?;
        let Some(target_oid) = hosted.git.find_branch(target).await? else {
            return Err(ForgeError::refused(format!(
                "the target {} does not exist yet; push it first",
                target.as_str()
            )));
        };
        let at = self.now().as_second();
        let request = MergeRequest {
            target: target.clone(),
            expected_target: target_oid.clone(),
            head: expected.clone(),
            message: format!("Merge branch '{}'\n", branch.name),
            author: Signature::new(actor, ""),
            committer: Signature::new(COMMITTER, ""),
            at,
        };
        let merge_oid = hosted.git.prepare_merge(&request).await.map_err(refused)?;
        let intent = NewMerge {
            branch_id: id,
            head_oid: expected.to_string(),
            target: target.as_str().to_owned(),
            target_oid: target_oid.to_string(),
            merge_oid: merge_oid.to_string(),
            actor: actor.to_owned(),
            now_ms: self.now_ms(),
        };
        let intent = self.store().begin_merge(intent).await?;
        let transaction = RefTransaction {
            changes: vec![
                RefChange::Update { branch: target.clone(), new: merge_oid.clone(), old: target_oid },
                RefChange::Verify { branch: name, old: expected.clone() },
            ],
            reason: format!("merge {} by {actor}", branch.name),
        };
        if let Err(error) = hosted.git.update_refs(&transaction).await {
            // After a deadline nobody knows whether the ref moved: looking is the only way to tell.
            if !self.is_merged(hosted, target, &merge_oid).await? {
                self.store().fail_merge(intent, &error.to_string(), self.now_ms()).await?;
                return Err(moved(error));
            }
        }
        self.store().finish_merge(intent, self.now_ms()).await?;
        tracing::info!(repository = hosted.config.name, branch = branch.name, actor, "merged");
        self.announce(Change { repository: hosted.config.name.clone(), branch_id: id, lane_run_id: None });
        self.take_in_target(hosted, &merge_oid, actor).await;
        Ok(Merged { oid: merge_oid.to_string(), target: target.as_str().to_owned() })
    }

    /// Makes sure that branch, database and caller agree on the head.
    pub(super) async fn check_head(
        &self,
        hosted: &Hosted,
        branch: &BranchRecord,
        name: &BranchName,
        expected: &Oid,
    ) -> Result<(), ForgeError> {
        let (head, _) = self.store().read_head(branch.head_id).await?;
        let in_git = hosted.git.find_branch(name).await?;
        let found = in_git.map_or("nothing".to_owned(), |oid| oid.to_string());
        let stale = |found: String| ForgeError::Stale { expected: expected.to_string(), found };
        if found != expected.as_str() {
            return Err(stale(found));
        }
        if head.oid != expected.as_str() {
            return Err(stale(head.oid));
        }
        Ok(())
    }

    /// Tests what the target has become. Its failure does not undo the merge: the next comparison finds it again.
    async fn take_in_target(&self, hosted: &Hosted, oid: &Oid, actor: &str) {
        let known = self.store().list_branch_heads(hosted.id).await.unwrap_or_default();
        let known = known.iter().find(|branch| hosted.is_default(&branch.name));
        let taken = self.take_in(hosted, &hosted.default_branch, Some(oid), known, Some(actor)).await;
        if let Err(error) = taken {
            tracing::warn!(repository = hosted.config.name, %error, "the merged target could not be taken in yet");
        }
    }

    /// Whether a merge commit is part of its target.
    async fn is_merged(&self, hosted: &Hosted, target: &BranchName, merge: &Oid) -> Result<bool, ForgeError> {
        let Some(tip) = hosted.git.find_branch(target).await? else { return Ok(false) };
        match hosted.git.merge_base(merge, &tip).await {
            Ok(base) => Ok(base.as_ref() == Some(merge)),
            Err(GitError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Finishes or fails the merges that a restart, or a failing database, has interrupted.
    pub(crate) async fn recover_merges(&self) {
        for hosted in self.all_hosted() {
            let _refs = hosted.live.refs.lock().await;
            self.recover_merges_of(&hosted).await;
        }
    }

    /// The same for one repository. The caller holds its `refs`: no merge of it is under way.
    async fn recover_merges_of(&self, hosted: &Hosted) {
        let pending = match self.store().list_pending_merges(hosted.id).await {
            Ok(pending) => pending,
            Err(error) => {
                tracing::error!(repository = hosted.config.name, %error, "merges could not be listed");
                return;
            }
        };
        for intent in pending {
            if let Err(error) = self.recover_merge(hosted, &intent).await {
                tracing::error!(repository = hosted.config.name, %error, "a merge could not be recovered");
            }
        }
    }

    async fn recover_merge(&self, hosted: &Hosted, intent: &MergeIntent) -> Result<(), ForgeError> {
        let is_merged = match (BranchName::parse(&intent.target), Oid::parse(&intent.merge_oid)) {
            (Ok(target), Ok(merge)) => self.is_merged(hosted, &target, &merge).await?,
            _ => false,
        };
        let now_ms = self.now_ms();
        if is_merged {
            self.store().finish_merge(intent.id, now_ms).await?;
        } else {
            self.store().fail_merge(intent.id, "it was interrupted before the ref moved", now_ms).await?;
        }
        Ok(())
    }
}

fn refused(error: MergeError) -> ForgeError {
    match error {
        MergeError::Conflict { paths } => ForgeError::Conflict { paths },
        MergeError::AlreadyMerged { .. } => {
            ForgeError::refused("the target has this head already; close the branch")
        }
        MergeError::Unrelated => {
            ForgeError::refused("the branch shares no history with its target; rebase it onto the target")
        }
        MergeError::TargetMoved { .. } => ForgeError::refused("the target has just moved; try again"),
        MergeError::Git(error) => error.into(),
    }
}

fn moved(error: GitError) -> ForgeError {
    match error {
        GitError::RefMoved { reference, .. } => {
            ForgeError::refused(format!("{reference} has just moved; look at the branch again"))
        }
        error => error.into(),
    }
}
