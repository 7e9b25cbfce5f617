//! What a writer claims, before any of it is believed.

/// A writer's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The whole change in a few sentences of Markdown.
    pub executive_summary: String,
    /// The claimed steps.
    pub steps: Vec<ClaimedStep>,
}

/// A claimed step. Any of it may be empty or wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedStep {
    /// What it is called.
    pub title: String,
    /// What it is for.
    pub intent: String,
    /// The files that it is said to touch.
    pub affected_files: Vec<String>,
    /// What is said to show it.
    pub evidence: Vec<ClaimedEvidence>,
    /// The explanation.
    pub body_markdown: String,
}

/// Something that is said to be in the diff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimedEvidence {
    /// A hunk by its id.
    Reference {
        /// The id, or what was written in its place.
        hunk: String,
        /// The lines within the hunk, counted from 1.
        lines: Option<(u64, u64)>,
        /// The file, when it was named.
        path: Option<String>,
    },
    /// A quotation.
    Quote {
        /// The quoted lines, with or without marks.
        text: String,
        /// The file, when it was named.
        path: Option<String>,
    },
}
