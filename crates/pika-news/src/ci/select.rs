//! Decides which lanes a head has: what its manifest names, what the default branch requires, what the changes concern.
//!
//! Invariant: what is required is read from the default branch, so that a branch can't drop a lane that guards it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use pika_git::{BranchName, Commit, GitError, Oid, Repository};
use pikaci::manifest::{MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest, ManifestError, Target, Trigger};

use crate::forge::state::{LaneKind, Selection};
use crate::store::{Group, NewLane};

/// What is to be done about a head.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selected {
    pub(crate) base: Option<Oid>,
    pub(crate) is_orphan: bool,
    pub(crate) commit: Option<Commit>,
    pub(crate) selection: Selection,
    pub(crate) lanes: Vec<NewLane>,
}

/// A head to select for.
pub(crate) struct Subject<'a> {
    pub(crate) git: &'a Repository,
    pub(crate) default_branch: &'a BranchName,
    pub(crate) branch: &'a BranchName,
    pub(crate) oid: &'a Oid,
    /// Where the branch was before.
    pub(crate) previous: Option<&'a Oid>,
}

/// Reads what is needed from git and decides.
pub(crate) async fn select(subject: &Subject<'_>) -> Result<Selected, GitError> {
    let Subject { git, oid, .. } = subject;
    let (commits, own, comparison) =
        tokio::try_join!(git.list_commits(None, oid, 1), read_manifest(git, oid), compare(subject))?;
    let policy = match &comparison.target {
        Some(target) => read_manifest(git, target).await?,
        None => ReadManifest::Missing,
    };
    let (selection, lanes) = decide(&own, &policy, comparison.changed.as_deref());
    let Comparison { base, is_orphan, .. } = comparison;
    Ok(Selected { base, is_orphan, commit: commits.into_iter().next(), selection, lanes })
}

/// What a head is compared with.
struct Comparison {
    base: Option<Oid>,
    is_orphan: bool,
    /// The paths that changed; `None` when there is nothing to compare with, so that every target is concerned.
    changed: Option<Vec<PathBuf>>,
    /// The head of the default branch, unless that is the branch itself.
    target: Option<Oid>,
}

async fn compare(subject: &Subject<'_>) -> Result<Comparison, GitError> {
    let Subject { git, default_branch, branch, oid, previous } = subject;
    let is_default = branch == default_branch;
    let target = if is_default { None } else { git.find_branch(default_branch).await? };
    // The default branch is compared with where it was; a commit that is gone is nothing to compare with.
    let against = if is_default { *previous } else { target.as_ref() };
    let base = match against {
        None => None,
        Some(against) => match git.merge_base(against, oid).await {
            Err(GitError::NotFound { .. }) => None,
            found => found?,
        },
    };
    let is_orphan = target.is_some() && base.is_none();
    let changed = match &base {
        None => None,
        Some(base) => Some(changed_paths(git, base, oid).await?),
    };
    Ok(Comparison { base, is_orphan, changed, target })
}

async fn changed_paths(git: &Repository, base: &Oid, oid: &Oid) -> Result<Vec<PathBuf>, GitError> {
    let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let changed = git.changed_paths(Some(base), oid).await?;
    // A file that moved away concerns the targets of its old place too.
    Ok(changed
        .iter()
        .flat_map(|changed| changed.old_path.iter().chain([&changed.path]))
        .map(|bytes| path(bytes))
        .collect())
}

/// The manifest of the default branch, whose word counts for what guards it; `None` when there is none that can be read.
pub(crate) async fn default_manifest(
    git: &Repository,
    default_branch: &BranchName,
) -> Result<Option<Manifest>, GitError> {
    match git.find_branch(default_branch).await? {
        Some(head) => manifest_at(git, &head).await,
        None => Ok(None),
    }
}

/// The manifest of a commit; `None` when there is none that can be read.
pub(crate) async fn manifest_at(git: &Repository, oid: &Oid) -> Result<Option<Manifest>, GitError> {
    Ok(match read_manifest(git, oid).await? {
        ReadManifest::Good(manifest) => Some(manifest),
        ReadManifest::Missing | ReadManifest::Bad(_) | ReadManifest::TooLarge => None,
    })
}

/// The lanes of a nightly. None is required: what the clock finds guards no merge.
pub(crate) fn nightly_lanes(manifest: &Manifest) -> Vec<NewLane> {
    let targets = manifest.targets().iter().filter(|target| target.on.contains(&Trigger::Nightly));
    targets.map(|target| lane(target, true, false)).collect()
}

/// A manifest as it was found at a commit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ReadManifest {
    Missing,
    Good(Manifest),
    Bad(ManifestError),
    TooLarge,
}

async fn read_manifest(git: &Repository, oid: &Oid) -> Result<ReadManifest, GitError> {
    match git.read_file(oid, MANIFEST_NAME, MANIFEST_BYTES_MAX as u64).await {
        Ok(None) => Ok(ReadManifest::Missing),
        Ok(Some(bytes)) => Ok(match Manifest::parse_bytes(&bytes) {
            Ok(manifest) => ReadManifest::Good(manifest),
            Err(error) => ReadManifest::Bad(error),
        }),
        Err(GitError::TooLarge { .. }) => Ok(ReadManifest::TooLarge),
        Err(error) => Err(error),
    }
}

/// Decides, from the head's own manifest, the default branch's, and the paths that changed.
pub(crate) fn decide(
    own: &ReadManifest,
    policy: &ReadManifest,
    changed: Option<&[PathBuf]>,
) -> (Selection, Vec<NewLane>) {
    // A default branch whose manifest is wrong must stay mendable: then the head's own manifest counts.
    let policy = match policy {
        ReadManifest::Good(manifest) => Some(manifest),
        ReadManifest::Missing | ReadManifest::Bad(_) | ReadManifest::TooLarge => None,
    };
    let concerns = |target: &Target| changed.is_none_or(|changed| target.matches(changed));
    let (selection, mut lanes) = match own {
        ReadManifest::Missing => (Selection::NoManifest, Vec::new()),
        ReadManifest::Bad(error) => (manifest_error(error), Vec::new()),
        ReadManifest::TooLarge => (too_large(), Vec::new()),
        ReadManifest::Good(manifest) => {
            let targets = manifest.targets().iter().filter(|target| target.on.contains(&Trigger::Branch));
            let lanes = targets.map(|target| {
                let guard = policy.and_then(|policy| find_required(policy, target));
                let is_concerned = concerns(target) || guard.is_some_and(concerns);
                lane(target, is_concerned, target.required || guard.is_some())
            });
            (Selection::Selected, lanes.collect())
        }
    };
    let guards = policy.into_iter().flat_map(Manifest::targets).filter(|target| is_required(target));
    for guard in guards {
        if !lanes.iter().any(|lane: &NewLane| lane.target == guard.id.as_str()) && concerns(guard) {
            lanes.push(missing(guard));
        }
    }
    (selection, lanes)
}

fn is_required(target: &Target) -> bool {
    target.required && target.on.contains(&Trigger::Branch)
}

fn find_required<'m>(policy: &'m Manifest, target: &Target) -> Option<&'m Target> {
    policy.find_target(&target.id).filter(|guard| is_required(guard))
}

fn lane(target: &Target, is_concerned: bool, is_required: bool) -> NewLane {
    let group = target.concurrency.as_ref();
    NewLane {
        target: target.id.as_str().to_owned(),
        title: target.title.clone(),
        is_required,
        kind: if is_concerned { LaneKind::Selected } else { LaneKind::NotConcerned },
        reason: (!is_concerned).then(|| "no path that it names has changed".to_owned()),
        group: group.map(|group| Group { name: group.group.clone(), size: group.size }),
    }
}

fn missing(guard: &Target) -> NewLane {
    NewLane {
        kind: LaneKind::Missing,
        reason: Some(format!(
            "the default branch requires the target {}, and {MANIFEST_NAME} of this head does not have it for branches; put it back",
            guard.id.as_str()
        )),
        ..lane(guard, true, true)
    }
}

fn manifest_error(error: &ManifestError) -> Selection {
    let first = error.problems.first();
    let number = |value: usize| u32::try_from(value).ok();
    Selection::ManifestError {
        message: error.to_string(),
        line: first.and_then(|problem| number(problem.line)),
        column: first.and_then(|problem| number(problem.column)),
    }
}

fn too_large() -> Selection {
    let message = format!("{MANIFEST_NAME}:1:1: the manifest is larger than {MANIFEST_BYTES_MAX} bytes");
    Selection::ManifestError { message, line: Some(1), column: Some(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(targets: &[(&str, &str)]) -> ReadManifest {
        let mut text = "version = 1\n".to_owned();
        for (id, keys) in targets {
            text.push_str(&format!(
                "[targets.{id}]\n{keys}\n[[targets.{id}.jobs]]\nid = \"job\"\ncommand = \"true\"\n"
            ));
        }
        match Manifest::parse(&text) {
            Ok(manifest) => ReadManifest::Good(manifest),
            Err(error) => ReadManifest::Bad(error),
        }
    }

    /// `target:kind` of every lane, `!` after those that a merge needs.
    fn decided(own: &ReadManifest, policy: &ReadManifest, changed: Option<&[&str]>) -> Vec<String> {
        let changed: Option<Vec<PathBuf>> = changed.map(|paths| paths.iter().map(PathBuf::from).collect());
        let (_, lanes) = decide(own, policy, changed.as_deref());
        let shown = |lane: &NewLane| {
            format!("{}:{}{}", lane.target, lane.kind, if lane.is_required { "!" } else { "" })
        };
        lanes.iter().map(shown).collect()
    }

    #[test]
    fn path_filters_apply_only_when_there_is_a_base() {
        let own = manifest(&[("docs", "paths = [\"docs/**\"]"), ("unit", "")]);
        assert_eq!(decided(&own, &ReadManifest::Missing, None), ["docs:selected!", "unit:selected!"]);
        assert_eq!(
            decided(&own, &ReadManifest::Missing, Some(&["src/lib.rs"])),
            ["docs:not_concerned!", "unit:selected!"]
        );
    }

    #[test]
    fn a_branch_cannot_drop_what_the_default_branch_requires() {
        let policy = manifest(&[("unit", "paths = [\"src/**\"]"), ("lint", "required = false")]);
        let changed: Option<&[&str]> = Some(&["src/lib.rs"]);
        assert_eq!(
            decided(&manifest(&[("other", "")]), &policy, changed),
            ["other:selected!", "unit:missing!"]
        );
        let softened = manifest(&[("unit", "required = false\npaths = [\"nothing/**\"]")]);
        assert_eq!(decided(&softened, &policy, changed), ["unit:selected!"]);
        assert_eq!(decided(&ReadManifest::Missing, &policy, changed), ["unit:missing!"]);
        assert_eq!(decided(&ReadManifest::Missing, &policy, Some(&["README.md"])), Vec::<String>::new());
    }

    #[test]
    fn a_broken_default_branch_stays_mendable() {
        let broken = manifest(&[("unit", "requiredd = 1")]);
        assert_eq!(decided(&manifest(&[("unit", "")]), &broken, None), ["unit:selected!"]);
    }

    #[test]
    fn a_manifest_error_carries_its_line() {
        let (selection, lanes) =
            decide(&manifest(&[("unit", "requiredd = 1")]), &ReadManifest::Missing, None);
        assert!(
            matches!(selection, Selection::ManifestError { line: Some(3), column: Some(1), .. }),
            "{selection:?}"
        );
        assert_eq!(lanes, []);
    }

    #[test]
    fn a_nightly_target_is_no_lane_of_a_push() {
        let own = manifest(&[("fuzz", "on = [\"nightly\"]"), ("unit", "")]);
        assert_eq!(decided(&own, &own, None), ["unit:selected!"]);
    }
}
