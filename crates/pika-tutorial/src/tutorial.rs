//! The checked tutorial, in the form that is stored, shown and answered.
//!
//! Invariants: every [`Evidence`] quotes the diff of this head, and its text was put in by the program. A step's state is
//! what the check found, never what a model said. What is read back from JSON was written by this program; it is not
//! checked again.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::diff::{ChangeStatus, Diff, HunkId, hex};

/// How much of all messages of commits, of one, and of a subject is kept.
const MESSAGES_BYTES_MAX: usize = 32 << 10;
const BODY_BYTES_MAX: usize = 6 << 10;
const SUBJECT_CHARS_MAX: usize = 300;
/// How much of its digest names a step.
const KEY_BYTES: usize = 12;
/// The version of the JSON that this program writes.
pub const SCHEMA_VERSION: u32 = 1;

/// What one head of a branch does, explained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tutorial {
    /// The version of this form.
    pub schema_version: u32,
    /// What the diff is of.
    #[serde(flatten)]
    pub about: About,
    /// Who wrote it: `builtin`, `openai`, `anthropic`, `command`.
    pub provider: String,
    /// The model's name, when a model wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The whole change in a few sentences of Markdown.
    pub executive_summary: String,
    /// The parts of the change, in reading order.
    pub steps: Vec<Step>,
    /// Which hunks the steps show.
    pub coverage: Coverage,
    /// What was wrong with the answer, and what was done.
    pub problems: Vec<String>,
    /// Every file of the diff with its hunks: what the ids stand for.
    pub files: Vec<FileEntry>,
    /// What the writer did not see in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_shown: Vec<NotShown>,
}

/// Names the change that a tutorial is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The repository's name.
    pub repository: String,
    /// The branch's name.
    pub branch: String,
    /// What its author calls the change.
    pub title: String,
    /// The commit that it is compared with.
    pub base: String,
    /// The commit that is explained.
    pub head: String,
    /// Whether files are explained as they are, with what no commit has yet.
    #[serde(skip_serializing_if = "is_false")]
    pub includes_uncommitted: bool,
    /// What the authors said of the commits between the two, the oldest first. Untrusted, and held against nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commits: Vec<CommitMessage>,
    /// How many further commits are left out, older ones.
    #[serde(skip_serializing_if = "is_zero")]
    pub commits_left_out: usize,
}

/// What an author said of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommitMessage {
    /// The commit.
    pub id: String,
    /// The first paragraph of its message, in one line.
    pub subject: String,
    /// The rest of its message, cut when it is long.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
}

impl About {
    /// How many commits are worth reading from git.
    pub const COMMITS_MAX: usize = 40;

    /// Takes the messages of commits, the newest first as git lists them, as far as they fit.
    pub fn with_commits(mut self, commits: impl IntoIterator<Item = CommitMessage>) -> About {
        let mut left = MESSAGES_BYTES_MAX;
        for commit in commits {
            let subject = crate::check::excerpt(&commit.subject, SUBJECT_CHARS_MAX);
            let body = excerpt_of_lines(&commit.body, BODY_BYTES_MAX);
            if self.commits.len() == About::COMMITS_MAX || subject.len() + body.len() > left {
                self.commits_left_out += 1;
                left = 0;
                continue;
            }
            left -= subject.len() + body.len();
            self.commits.push(CommitMessage { id: commit.id, subject, body });
        }
        self.commits.reverse();
        self
    }
}

/// The first lines of a text that have so many bytes together, with a mark where it was cut.
fn excerpt_of_lines(text: &str, bytes_max: usize) -> String {
    let text = text.trim_end();
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let cut = (0..=bytes_max).rev().find(|cut| text.is_char_boundary(*cut)).unwrap_or(0);
    let end = text[..cut].rfind('\n').unwrap_or(cut);
    format!("{}\n…", &text[..end])
}

/// One part of the change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What it is called.
    pub title: String,
    /// What it is for.
    pub intent: String,
    /// The files that it touches: all of them are in the diff.
    pub affected_files: Vec<String>,
    /// The texts of its evidence.
    pub evidence_snippets: Vec<String>,
    /// The explanation. Untrusted Markdown.
    pub body_markdown: String,
    /// What the check found.
    pub state: StepState,
    /// Where the diff shows it.
    pub evidence: Vec<Evidence>,
    /// The head that the step was written for, when that is an older one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<String>,
    /// What the step showed of that head and is not in this diff any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_snippets: Vec<String>,
}

/// What the check found of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Evidence that its writer named is in the diff.
    Verified,
    /// Its writer gave none that is; the program put some in from the files that the step names.
    Repaired,
    /// Nothing of the diff could be put beside it.
    Unsupported,
}

/// A place in the diff that shows what a step says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The file.
    pub path: String,
    /// The hunk.
    pub hunk: HunkId,
    /// The hunk's digest: finds it again in the diff of another head.
    pub digest: String,
    /// The first and the last line within the hunk, counted from 1.
    pub lines: (usize, usize),
    /// These lines as the diff has them, with their marks; a long quotation is cut at its end.
    pub text: String,
    /// How many lines were cut.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_lines: usize,
    /// Who named it.
    pub state: EvidenceState,
}

/// Who named a place as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceState {
    /// The step's writer, and it is in the diff.
    Verified,
    /// The program.
    Repaired,
}

/// Which hunks the steps show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// How many hunks the diff has.
    pub hunks: usize,
    /// Of how many some step shows a changed line.
    pub explained: usize,
    /// The others, in the order of the diff.
    pub unexplained: Vec<HunkId>,
    /// How many changed lines the diff has.
    #[serde(default)]
    pub lines: usize,
    /// How many of them some step shows.
    #[serde(default)]
    pub lines_explained: usize,
}

/// A file of the diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its path.
    pub path: String,
    /// Where it came from, when it was renamed or copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_path: Option<String>,
    /// What happened to it.
    pub status: ChangeStatus,
    /// How many lines were added.
    pub added: usize,
    /// How many lines were removed.
    pub removed: usize,
    /// Its hunks.
    pub hunks: Vec<HunkEntry>,
}

/// A hunk of the diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HunkEntry {
    /// Its id.
    pub id: HunkId,
    /// Its header.
    pub header: String,
    /// The digest of its lines.
    pub digest: String,
}

/// Something that a tutorial's writer did not see in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotShown {
    /// The file.
    pub path: String,
    /// How many of its hunks were listed without their text, or with a part of it.
    pub hunks: usize,
    /// Why.
    pub reason: String,
}

impl FileEntry {
    /// Lists the files of a diff.
    pub fn list(diff: &Diff) -> Vec<FileEntry> {
        let hunk = |hunk: &crate::diff::Hunk| HunkEntry {
            id: hunk.id.clone(),
            header: hunk.header.clone(),
            digest: hunk.digest.clone(),
        };
        diff.files()
            .iter()
            .map(|file| FileEntry {
                path: file.display_path(),
                old_path: file.display_old_path(),
                status: file.status,
                added: file.added,
                removed: file.removed,
                hunks: file.hunks.iter().map(hunk).collect(),
            })
            .collect()
    }
}

impl Tutorial {
    /// How many steps have this state.
    pub fn count(&self, state: StepState) -> usize {
        self.steps.iter().filter(|step| step.state == state).count()
    }
}

impl Step {
    /// Names the step by its words and its evidence, so that what is remembered of it holds as long as it says the same
    /// of the same lines.
    pub fn key(&self) -> String {
        let mut hasher = Sha256::new();
        let texts = [&self.title, &self.intent, &self.body_markdown];
        let digests = self.evidence.iter().map(|evidence| &evidence.digest);
        for text in texts.into_iter().chain(digests) {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text);
        }
        hex(&hasher.finalize()[..KEY_BYTES])
    }
}

// serde calls them with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
