//! The diff of a head and the builtin tutorial: read once, kept for a while, shown whatever becomes of a writer.
//!
//! Invariants: what several ask for at once is read once; it is read to its end although nobody may wait for it any more; the
//! shelf has a bound.

use std::sync::{Arc, Mutex, PoisonError};

use pika_git::{GitError, Oid, Repository};
use pika_tutorial::{
    About, Change, CommitMessage, Diff, ExplainOptions, Explained, Provider, Side, Sources, explain,
    list_wanted_sources,
};
use tokio::sync::OnceCell;

use crate::forge::ForgeError;

/// How many are kept, and how much memory their diffs may take together.
const KEPT_MAX: usize = 24;
const KEPT_BYTES_MAX: usize = 48 << 20;
/// How many commits of a change are counted; most of their messages are left out.
const COMMITS_READ_MAX: usize = 1_000;

/// Names what is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub(crate) repository: String,
    pub(crate) branch: String,
    pub(crate) title: String,
    pub(crate) base: Option<Oid>,
    pub(crate) head: Oid,
}

/// What can be shown of a head at once.
pub(crate) struct Prepared {
    pub(crate) change: Change,
    pub(crate) builtin: Arc<Explained>,
    /// The tutorial that a writer gave, as it was last put together: under which name, and for which diff.
    pub(crate) shown: Mutex<Option<(String, Arc<Explained>)>>,
}

impl Prepared {
    pub(crate) fn diff(&self) -> &Arc<Diff> {
        &self.change.diff
    }
}

type Cell = Arc<OnceCell<Arc<Prepared>>>;

/// What was read lately, the latest last.
#[derive(Default)]
pub(super) struct Shelf {
    kept: Mutex<Vec<(Comparison, Cell)>>,
}

impl Shelf {
    fn cell(&self, comparison: &Comparison) -> Cell {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|(of, _)| of == comparison);
        let entry = found.map_or_else(|| (comparison.clone(), Cell::default()), |index| kept.remove(index));
        let cell = Arc::clone(&entry.1);
        kept.push(entry);
        let bytes = |cell: &Cell| cell.get().map_or(0, |prepared| prepared.change.diff.memory_bytes());
        let mut all: usize = kept.iter().map(|(_, cell)| bytes(cell)).sum();
        while kept.len() > 1 && (kept.len() > KEPT_MAX || all > KEPT_BYTES_MAX) {
            all -= bytes(&kept.remove(0).1);
        }
        cell
    }
}

impl super::Tutorials {
    /// Reads what can be shown at once, or finds it on the shelf. Dropping the future does not end the reading.
    pub(crate) async fn prepare(
        &self,
        git: &Repository,
        comparison: &Comparison,
    ) -> Result<Arc<Prepared>, ForgeError> {
        let cell = self.prepared.cell(comparison);
        if let Some(prepared) = cell.get() {
            return Ok(Arc::clone(prepared));
        }
        let (git, comparison, bytes_max) = (git.clone(), comparison.clone(), self.config.diff_bytes_max);
        let reading = self.tasks.spawn(async move {
            cell.get_or_try_init(|| async { Ok(Arc::new(read(&git, &comparison, bytes_max).await?)) })
                .await
                .cloned()
        });
        reading.await.unwrap_or_else(|_| {
            Err(ForgeError::refused("the changes could not be explained; this is a mistake in pika-news"))
        })
    }
}

/// Reads and explains a diff, which may have so many bytes; a larger one is shown in part, without a tutorial.
async fn read(git: &Repository, comparison: &Comparison, bytes_max: u64) -> Result<Prepared, ForgeError> {
    let (base, head) = (comparison.base.as_ref(), &comparison.head);
    let patch = git.read_patch(base, head, bytes_max).await?;
    let parsed = tokio::task::spawn_blocking(move || {
        let diff = Diff::parse(patch);
        let wanted = list_wanted_sources(&diff);
        (diff, wanted)
    });
    let (diff, wanted) = parsed.await.map_err(|_| ForgeError::refused("the changes could not be parsed"))?;
    let mut sources = Sources::default();
    for (side, commit) in [(Side::Base, base), (Side::Head, Some(head))] {
        let paths: Vec<Vec<u8>> =
            wanted.iter().filter(|(of, _)| *of == side).map(|(_, path)| path.clone()).collect();
        let Some(commit) = commit.filter(|_| !paths.is_empty()) else { continue };
        // Without them, items are found in what the diff shows.
        match git.read_files(commit, &paths).await {
            Ok(files) => {
                for (path, content) in files {
                    sources.insert(side, &path, content);
                }
            }
            Err(error @ GitError::NotFound { .. }) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the files of a change could not be read"),
        }
    }
    let about = About {
        repository: comparison.repository.clone(),
        branch: comparison.branch.clone(),
        title: comparison.title.clone(),
        base: base.map(Oid::to_string).unwrap_or_default(),
        head: head.to_string(),
        ..About::default()
    };
    let commits = git.list_commits(base, head, COMMITS_READ_MAX).await?;
    let about = about.with_commits(commits.into_iter().map(|commit| CommitMessage {
        id: commit.oid.to_string(),
        subject: commit.subject,
        body: commit.body,
    }));
    let mut change = Change { about, diff: Arc::new(diff), sources: Arc::new(sources.clone()) };
    let builtin = explain(&change, &Provider::builtin(), &ExplainOptions::default()).await;
    // The others are large, and were for the builtin tutorial alone.
    sources.retain(|path| path.ends_with(b".gitattributes"));
    change.sources = Arc::new(sources);
    Ok(Prepared { change, builtin: Arc::new(builtin), shown: Mutex::new(None) })
}
