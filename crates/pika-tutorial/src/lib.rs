//! A diff in, a tutorial out whose every claim was held against the diff.
//!
//! # Glossary
//!
//! - **diff**: what changed between a **base** and a **head**, as a list of files.
//! - **hunk**: neighbouring changed lines of one file with the lines around them, or a change that has no lines: a mode, a
//!   binary file, a rename. It has an **id** that names it and a **digest** of its content; both survive a move of its lines.
//! - **answer**: what a writer, as a rule a model, says of the diff: **steps**, each with **evidence** that it names or quotes.
//! - **check**: holds an answer against the diff. What comes out is a **tutorial**; what was wrong is a **finding**.
//! - **interdiff**: what changed between two versions of a change. **Re-anchoring** carries a tutorial over to a new head.
//! - **coverage**: which hunks some step shows.
//!
//! Invariant: nothing here reads the environment, prints, or runs git; a diff comes in as bytes.

mod answer;
mod area;
mod attributes;
mod builtin;
mod check;
pub mod command_line;
mod coverage;
mod diff;
mod explain;
mod finding;
mod interdiff;
mod page;
mod provider;
mod read;
mod reanchor;
mod request;
mod sources;
mod tutorial;

pub use answer::{Answer, ClaimedEvidence, ClaimedStep};
pub use area::{Area, list_areas};
pub use attributes::{Attributes, Marks};
pub use builtin::{explain_by_program, list_wanted_sources};
pub use check::{Checked, check};
pub use coverage::measure;
pub use diff::{
    ChangeStatus, Diff, FileChange, Hunk, HunkId, HunkRef, Line, LineKind, LineRange, NumberedLine,
};
pub use explain::{Call, Change, End, ExplainOptions, Explained, Purpose, explain};
pub use finding::Finding;
pub use interdiff::Interdiff;
pub use page::{
    Embedding, PAGE_SCRIPT, PAGE_STYLE, render_file, render_files, render_markdown, render_steps, write_page,
};
pub use provider::{AskError, Provider, ProviderKind, ProviderSettings, SettingsError, Usage};
pub use read::{ANSWER_BYTES_MAX, Read, read};
pub use reanchor::{Reanchored, reanchor};
pub use request::{
    PartAnswer, PartEvidence, PartNumber, PartStep, Plan, PlanLimits, Repair, Request, RequestFile,
    RequestHunk,
};
pub use sources::{Side, Sources};
pub use tutorial::{
    About, CommitMessage, Coverage, Evidence, EvidenceState, FileEntry, HunkEntry, NotShown, SCHEMA_VERSION,
    Step, StepState, Tutorial,
};
