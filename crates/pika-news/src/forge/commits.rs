//! The commits of heads, as git has listed them.
//!
//! Invariant: what was listed between two commits is kept, because it never changes; what is kept is bounded in bytes.

use std::sync::Arc;

use pika_git::{Commit, GitError, Oid, Repository};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// All together.
const BYTES_MAX: u64 = 8 << 20;
/// For the size of the table: pages of as many heads.
const LISTS_EXPECTED: usize = 500;

type Range = (Option<Oid>, Oid, usize);

/// The lists that were asked for.
pub(super) struct Commits {
    kept: Cache<Range, Arc<[Commit]>, Bytewise>,
}

#[derive(Clone)]
struct Bytewise;

impl Weighter<Range, Arc<[Commit]>> for Bytewise {
    fn weight(&self, _range: &Range, commits: &Arc<[Commit]>) -> u64 {
        let texts = commits.iter().map(|commit| {
            commit.author_name.len() + commit.author_email.len() + commit.subject.len() + commit.body.len()
        });
        (size_of::<Range>() + size_of_val(&**commits) + texts.sum::<usize>()) as u64
    }
}

impl Commits {
    pub(super) fn new() -> Commits {
        Commits { kept: Cache::with_weighter(LISTS_EXPECTED, BYTES_MAX, Bytewise) }
    }

    /// Lists at most `limit` commits of `oid` that `base` has not, the newest first.
    pub(super) async fn list(
        &self,
        git: &Repository,
        base: Option<Oid>,
        oid: Oid,
        limit: usize,
    ) -> Result<Arc<[Commit]>, GitError> {
        let range = (base, oid, limit);
        let list = async { git.list_commits(range.0.as_ref(), &range.1, limit).await.map(Arc::from) };
        self.kept.get_or_insert_async(&range, list).await
    }
}
