//! The explained part of a page: what wrote it, summary, steps with what shows them, and what no step shows.

use std::collections::HashMap;

use crate::diff::{Diff, HunkRef};
use crate::explain::{End, Explained};
use crate::tutorial::{Evidence, EvidenceState, Step, StepState};

use super::changes::{LineView, view_lines};
use super::embedding::Embedding;
use super::markdown;
use super::text::{visible, visible_lines, with_code};

/// How many places a step shows with their lines; the others are links.
const SHOWN_MAX: usize = 6;
/// How many lines of a place are shown beside the step.
const LINES_MAX: usize = 24;
/// How many links to further places a step has.
const LINKS_MAX: usize = 60;
/// With more steps than this, they are listed before the first.
const CONTENTS_MIN: usize = 4;
/// How many hunks are listed as unexplained; their number is always told.
const UNEXPLAINED_MAX: usize = 500;
/// How much of a commit's id is shown.
const SHORT_CHARS: usize = 12;
/// How many messages of commits are shown open.
const OPEN_MESSAGES_MAX: usize = 4;
/// How many messages are listed before the list is folded.
const LISTED_MESSAGES_MAX: usize = 12;
const PROBLEMS_MAX: usize = 200;

/// Everything above the diff.
pub(super) struct Head<'a> {
    explained: &'a Explained,
    diff: &'a Diff,
    embedding: &'a Embedding,
    /// The files of the diff by their paths for people.
    places: HashMap<String, usize>,
}

/// A step on a page.
pub(super) struct StepView {
    pub(super) number: usize,
    pub(super) key: String,
    pub(super) is_ticked: bool,
    pub(super) title: String,
    pub(super) intent: String,
    pub(super) body: String,
    pub(super) state: &'static str,
    pub(super) state_word: &'static str,
    pub(super) stale_since: Option<String>,
    pub(super) files: Vec<Link>,
    pub(super) files_left_out: usize,
    pub(super) places: Vec<Place>,
    pub(super) more: Vec<Link>,
    pub(super) left_out: usize,
    /// What a stale step showed of the head that it was written for.
    pub(super) earlier: Vec<String>,
}

/// What an author said of a commit.
pub(super) struct Message {
    pub(super) id: String,
    pub(super) subject: String,
    pub(super) body: String,
}

/// A link to a place in the diff.
pub(super) struct Link {
    pub(super) href: String,
    pub(super) file: usize,
    pub(super) text: String,
}

/// A place in the diff, shown beside a step.
pub(super) struct Place {
    pub(super) link: Link,
    pub(super) is_put_in: bool,
    pub(super) lines: Vec<LineView>,
    pub(super) more_lines: usize,
}

impl<'a> Head<'a> {
    pub(super) fn new(explained: &'a Explained, diff: &'a Diff, embedding: &'a Embedding) -> Head<'a> {
        let files = diff.files().iter().enumerate().rev();
        let places = files.map(|(index, file)| (file.display_path(), index)).collect();
        Head { explained, diff, embedding, places }
    }

    pub(super) fn tick_url(&self) -> Option<&str> {
        self.embedding.tick_url.as_deref()
    }

    pub(super) fn title(&self) -> String {
        let about = &self.explained.tutorial.about;
        let named =
            [&about.title, &about.branch, &about.repository].into_iter().find(|name| !name.is_empty());
        named.map_or_else(|| "What changed".to_owned(), |name| visible(name))
    }

    /// The head and the base, shortened as git does.
    pub(super) fn commits(&self) -> String {
        let about = &self.explained.tutorial.about;
        let short = |name: &str| visible(&name.chars().take(12).collect::<String>());
        match (about.base.is_empty(), about.head.is_empty()) {
            (false, false) => format!("{} → {}", short(&about.base), short(&about.head)),
            (true, false) => short(&about.head),
            (false, true) => format!("since {}", short(&about.base)),
            (true, true) => String::new(),
        }
    }

    /// Where the change stands: repository and branch, as far as they are known.
    pub(super) fn origin(&self) -> String {
        let about = &self.explained.tutorial.about;
        let named = [&about.repository, &about.branch].into_iter().filter(|name| !name.is_empty());
        let mut place = named.map(|name| visible(name)).collect::<Vec<_>>().join(" · ");
        if about.includes_uncommitted {
            place += if place.is_empty() { "" } else { " · " };
            place += "with what is not committed yet";
        }
        place
    }

    /// What the authors said, in the order of their commits.
    pub(super) fn messages(&self) -> Vec<Message> {
        let commits = self.explained.tutorial.about.commits.iter();
        commits
            .map(|commit| Message {
                id: visible(&commit.id.chars().take(SHORT_CHARS).collect::<String>()),
                subject: visible(&commit.subject),
                body: visible_lines(commit.body.trim()),
            })
            .collect()
    }

    pub(super) fn messages_left_out(&self) -> usize {
        self.explained.tutorial.about.commits_left_out
    }

    /// Whether there are so few messages that they are shown open.
    pub(super) fn are_messages_open(&self) -> bool {
        self.explained.tutorial.about.commits.len() <= OPEN_MESSAGES_MAX
    }

    /// Whether there are so many messages that their list is folded.
    pub(super) fn are_messages_folded(&self) -> bool {
        self.explained.tutorial.about.commits.len() > LISTED_MESSAGES_MAX
    }

    pub(super) fn counts(&self) -> String {
        let (added, removed) = self.diff.counts();
        let files = self.diff.files().len();
        format!("{files} {}, +{added} −{removed}", if files == 1 { "file" } else { "files" })
    }

    /// A name under which the reader's ticks are remembered.
    pub(super) fn key(&self) -> String {
        self.diff.digest()
    }

    pub(super) fn writer(&self) -> String {
        let tutorial = &self.explained.tutorial;
        match (&tutorial.model, tutorial.provider.as_str()) {
            (_, "builtin") => "No model wrote this page: a program made it from the diff.".to_owned(),
            (Some(model), provider) => {
                format!(
                    "Written by the model {} ({}). {}",
                    visible(model),
                    visible(provider),
                    self.about_quotations()
                )
            }
            (None, provider) => {
                format!("Written by the provider {}. {}", visible(provider), self.about_quotations())
            }
        }
    }

    /// What was checked of a writer's answer, and what was not.
    fn about_quotations(&self) -> String {
        let dropped = match self.explained.inventions {
            0 => String::new(),
            1 => " One that is not in the diff was dropped.".to_owned(),
            count => format!(" {count} that are not in the diff were dropped."),
        };
        format!(
            "Every quotation was put in from the diff.{dropped} What the writer concludes from them was not checked."
        )
    }

    /// What went wrong with the whole, if something did.
    pub(super) fn failure(&self) -> Option<String> {
        match &self.explained.end {
            End::Written => None,
            End::Partial { reason } => Some(format!(
                "A part of the tutorial could not be had: {}. What came is shown.",
                visible(reason)
            )),
            End::FellBack { reason } => Some(format!(
                "The tutorial could not be had: {}. The builtin one stands in its place.",
                visible(reason)
            )),
        }
    }

    pub(super) fn summary(&self) -> String {
        markdown::render(&self.explained.tutorial.executive_summary)
    }

    pub(super) fn coverage(&self) -> String {
        let coverage = &self.explained.tutorial.coverage;
        format!("The steps show {} of {} hunks.", coverage.explained, coverage.hunks)
    }

    /// Whether a list of the steps helps to find one.
    pub(super) fn has_contents(&self) -> bool {
        self.explained.tutorial.steps.len() > CONTENTS_MIN
    }

    pub(super) fn steps(&self) -> Vec<StepView> {
        let steps = self.explained.tutorial.steps.iter().enumerate();
        steps.map(|(index, step)| self.step(index + 1, step)).collect()
    }

    fn step(&self, number: usize, step: &Step) -> StepView {
        let mut places = Vec::new();
        let mut more = Vec::new();
        for evidence in &step.evidence {
            let Some(hunk) = self.diff.find_hunk(evidence.hunk.as_str()) else { continue };
            if places.len() < SHOWN_MAX {
                places.push(self.place(hunk, evidence));
            } else {
                more.push(self.link(hunk, evidence.lines.0));
            }
        }
        let left_out = more.len().saturating_sub(LINKS_MAX);
        more.truncate(LINKS_MAX);
        let (state, state_word) = match step.state {
            StepState::Verified => ("verified", "Quotes the diff"),
            StepState::Repaired => ("repaired", "Evidence put in by the program"),
            // It had some, and nobody is to blame that the branch went on.
            StepState::Unsupported if step.stale_since.is_some() => ("stale", "Its lines have changed since"),
            StepState::Unsupported => ("unsupported", "No evidence in the diff"),
        };
        let key = step.key();
        StepView {
            number,
            is_ticked: self.embedding.ticked.contains(&key),
            key,
            title: with_code(&step.title),
            intent: with_code(&step.intent),
            body: markdown::render(&step.body_markdown),
            state,
            state_word,
            stale_since: step
                .stale_since
                .as_ref()
                .map(|head| visible(&head.chars().take(12).collect::<String>())),
            files: step
                .affected_files
                .iter()
                .take(LINKS_MAX)
                .filter_map(|path| self.file_link(path))
                .collect(),
            files_left_out: step.affected_files.len().saturating_sub(LINKS_MAX),
            places,
            more,
            left_out,
            earlier: step.earlier_snippets.iter().map(|text| visible_lines(text)).collect(),
        }
    }

    fn file_link(&self, path: &str) -> Option<Link> {
        let index = *self.places.get(path)?;
        Some(self.link_to_file(index + 1, visible(path)))
    }

    fn link_to_file(&self, file: usize, text: String) -> Link {
        Link { href: format!("{}#file-{file}", self.embedding.file(file)), file, text }
    }

    pub(super) fn unexplained(&self) -> Vec<Link> {
        let ids = self.explained.tutorial.coverage.unexplained.iter().take(UNEXPLAINED_MAX);
        ids.filter_map(|id| self.diff.find_hunk(id.as_str())).map(|hunk| self.link(hunk, 1)).collect()
    }

    pub(super) fn unexplained_count(&self) -> usize {
        self.explained.tutorial.coverage.unexplained.len()
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.explained.tutorial.problems.iter().take(PROBLEMS_MAX).map(|problem| visible(problem)).collect()
    }

    pub(super) fn not_shown(&self) -> Vec<String> {
        let list = self.explained.tutorial.not_shown.iter().take(PROBLEMS_MAX);
        list.map(|entry| format!("{}: {}", visible(&entry.path), visible(&entry.reason))).collect()
    }

    pub(super) fn files(&self) -> Vec<Link> {
        let files = self.diff.files().iter().enumerate();
        files.map(|(index, file)| self.link_to_file(index + 1, visible(&file.display_path()))).collect()
    }

    /// How long it took and what it cost, when a writer was asked.
    pub(super) fn effort(&self) -> Option<String> {
        if self.explained.calls.is_empty() {
            return None;
        }
        let calls = self.explained.calls.len();
        let mut effort = format!(
            "{calls} {} in {:.1} s",
            if calls == 1 { "request" } else { "requests" },
            std::time::Duration::from_millis(self.explained.duration_ms).as_secs_f64()
        );
        if let Some(usage) = self.explained.usage {
            effort += &format!(", {} tokens read, {} written", usage.input_tokens, usage.output_tokens);
            if let Some(cost) = usage.cost_usd {
                effort += &format!(", ${cost:.4}");
            }
        }
        Some(effort)
    }

    fn place(&self, hunk: HunkRef<'_>, evidence: &Evidence) -> Place {
        let (first, last) = evidence.lines;
        let last = last.min(hunk.hunk().lines.len());
        let start = first.saturating_sub(1).min(last);
        let shown = start..last.min(start + LINES_MAX);
        Place {
            link: self.link(hunk, first),
            is_put_in: evidence.state == EvidenceState::Repaired,
            more_lines: last - shown.end,
            lines: view_lines(hunk, shown, None),
        }
    }

    /// Names a line by its number after the change, or before it when it is gone.
    fn link(&self, hunk: HunkRef<'_>, line: usize) -> Link {
        let numbered = hunk.numbered().nth(line.saturating_sub(1));
        let path = visible(&hunk.file().display_path());
        let text = match numbered.map(|line| (line.new, line.old)) {
            Some((Some(number), _)) => format!("{path}:{number}"),
            Some((None, Some(number))) => format!("{path}:{number} (before)"),
            Some((None, None)) | None => format!("{path}: {}", visible(&hunk.hunk().header)),
        };
        let file = hunk.file_index() + 1;
        Link { href: format!("{}#{}-{line}", self.embedding.file(file), hunk.id()), file, text }
    }
}
