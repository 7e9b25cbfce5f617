//! A diff in, a tutorial out whose every claim was held against the diff.
//!
//! # Glossary
//!
//! - **diff**: what changed between a **base** and a **head**, as a list of files.
//! - **hunk**: neighbouring changed lines of one file with the lines around them, or a change that has no lines: a mode, a
//!   binary file, a rename. It has an **id** that names it and a **digest** of its content; both survive a move of its lines.
//!
//! Invariant: nothing here reads the environment, prints, or runs git; a diff comes in as bytes.

mod diff;

pub use diff::{ChangeStatus, Diff, FileChange, Hunk, HunkId, HunkRef, Line, LineKind, LineRange};
