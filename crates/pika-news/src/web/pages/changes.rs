//! What a branch changes: its commits and its difference, as the branch's page shows them.

use pika_git::{ChangeStatus, Commit, Diff, DiffLimits, DiffLine, FileDiff, LineKind};

use crate::forge::Forge;
use crate::forge::view::HeadView;
use crate::web::error::WebError;

const COMMITS_SHOWN: usize = 100;
/// A file with more changed lines is folded.
const OPEN_FILE_LINES_MAX: u64 = 300;
/// What one page shows of a difference. Every file is listed whatever these are.
const LIMITS: DiffLimits =
    DiffLimits { file_lines_max: 1_000, lines_max: 6_000, line_bytes_max: 1_000, bytes_max: 1 << 20 };

/// The commits of a head.
pub(super) struct Commits {
    pub(super) commits: Vec<Commit>,
    pub(super) has_more_commits: bool,
}

impl Commits {
    /// Reads them. A failure is a part of the page, not its end.
    pub(super) async fn read(forge: &Forge, repository: &str, head: &HeadView) -> Result<Commits, String> {
        let failed = |error| format!("The commits can't be shown: {}.", WebError::from(error).message());
        let mut commits = forge.commits(repository, head, COMMITS_SHOWN + 1).await.map_err(failed)?;
        let has_more_commits = commits.len() > COMMITS_SHOWN;
        commits.truncate(COMMITS_SHOWN);
        Ok(Commits { commits, has_more_commits })
    }
}

/// Reads a part of a difference that is too large to be explained.
pub(super) async fn read_part(forge: &Forge, repository: &str, head: &HeadView) -> Result<Diff, WebError> {
    Ok(forge.diff(repository, head, LIMITS).await?)
}

pub(super) fn is_small(file: &FileDiff) -> bool {
    file.added + file.removed <= OPEN_FILE_LINES_MAX
}

pub(super) fn status_word(file: &FileDiff) -> &'static str {
    match file.status {
        ChangeStatus::Added => "added",
        ChangeStatus::Deleted => "deleted",
        ChangeStatus::Modified => "changed",
        ChangeStatus::Renamed => "renamed",
        ChangeStatus::Copied => "copied",
        ChangeStatus::TypeChanged => "type changed",
    }
}

/// Says what became of a file's mode, when it is worth a word.
pub(super) fn mode_change(file: &FileDiff) -> Option<String> {
    const SUBMODULE: u32 = 0o160_000;
    const LINK: u32 = 0o120_000;
    let kind = |mode: u32| match mode {
        0o100_755 => "an executable file",
        LINK => "a link",
        SUBMODULE => "a submodule",
        _ => "a file",
    };
    match (file.old_mode, file.new_mode) {
        (0, new) if matches!(new, SUBMODULE | LINK | 0o100_755) => Some(format!("It is {}.", kind(new))),
        (0, _) | (_, 0) => None,
        (old, new) if old != new => Some(format!("It was {} and is {} now.", kind(old), kind(new))),
        _ => None,
    }
}

pub(super) fn line_class(line: &DiffLine) -> &'static str {
    match line.kind {
        LineKind::Context => "context",
        LineKind::Added => "added",
        LineKind::Removed => "removed",
    }
}

pub(super) fn line_mark(line: &DiffLine) -> &'static str {
    match line.kind {
        LineKind::Context => " ",
        LineKind::Added => "+",
        LineKind::Removed => "−",
    }
}

pub(super) fn number(number: &Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}
