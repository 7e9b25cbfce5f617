//! What is wrong with an answer, as facts; their texts are for people and for the writer's second try.

use std::fmt;

/// Something that the reader or the check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The answer holds no tutorial.
    Unreadable {
        /// How its text begins.
        begins: String,
    },
    /// The answer's form was wrong and could be mended.
    Mended {
        /// What was wrong.
        what: String,
    },
    /// The answer ends in the middle.
    Truncated {
        /// How many steps were whole.
        complete_steps: usize,
    },
    /// Something is missing, or of the wrong kind.
    Field {
        /// Where, such as `steps[3].title`.
        place: String,
        /// What was wrong with it.
        what: &'static str,
    },
    /// A step names a file that the diff does not have.
    UnknownFile {
        /// The step's place, from 0.
        step: usize,
        /// What it names.
        path: String,
    },
    /// A step names a hunk that the diff does not have.
    UnknownHunk {
        /// The step's place, from 0.
        step: usize,
        /// What it names.
        hunk: String,
    },
    /// A step names lines that the hunk does not have; the whole hunk is shown.
    LinesOutside {
        /// The step's place, from 0.
        step: usize,
        /// The hunk.
        hunk: String,
    },
    /// A step quotes what is not in the diff.
    InventedSnippet {
        /// The step's place, from 0.
        step: usize,
        /// How the quotation begins.
        begins: String,
    },
    /// A quotation is so short that it would match anything.
    EmptySnippet {
        /// The step's place, from 0.
        step: usize,
    },
    /// A step came without evidence that holds; the program put some in.
    Repaired {
        /// The step's place, from 0.
        step: usize,
    },
    /// Nothing in the diff supports a step.
    Unsupported {
        /// The step's place, from 0.
        step: usize,
    },
    /// A step says what another one said; it was left out.
    Duplicate {
        /// The step's place, from 0.
        step: usize,
        /// The other one's place.
        of: usize,
    },
    /// A step says nothing; it was left out.
    Blank {
        /// The step's place, from 0.
        step: usize,
    },
    /// Something is longer than a tutorial can use, and was cut.
    TooLong {
        /// What, such as `steps[3].body_markdown`.
        place: String,
    },
    /// There is no summary; one was made of the counts.
    NoSummary,
    /// The writer could not be asked, or its answer was not used.
    Provider {
        /// What happened.
        what: String,
    },
}

impl Finding {
    /// Whether the writer is asked to mend it.
    pub fn is_for_writer(&self) -> bool {
        match self {
            Finding::Unreadable { .. }
            | Finding::UnknownFile { .. }
            | Finding::UnknownHunk { .. }
            | Finding::InventedSnippet { .. }
            | Finding::EmptySnippet { .. }
            | Finding::Repaired { .. }
            | Finding::Unsupported { .. }
            | Finding::NoSummary => true,
            Finding::Field { .. } => true,
            // What is long stays long, what is mended is mended, what was said twice is shown once. What did not fit is
            // not written again at the same length.
            Finding::Mended { .. }
            | Finding::Truncated { .. }
            | Finding::LinesOutside { .. }
            | Finding::Duplicate { .. }
            | Finding::Blank { .. }
            | Finding::TooLong { .. }
            | Finding::Provider { .. } => false,
        }
    }

    /// Whether it is a quotation or a reference that was made up.
    pub fn is_invention(&self) -> bool {
        matches!(self, Finding::InventedSnippet { .. } | Finding::UnknownHunk { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Unreadable { begins } => {
                write!(formatter, "the answer holds no tutorial; it begins with {begins:?}")
            }
            Finding::Mended { what } => write!(formatter, "the answer's form was mended: {what}"),
            Finding::Truncated { complete_steps } => {
                write!(
                    formatter,
                    "the answer ends in the middle; its {complete_steps} complete steps were kept"
                )
            }
            Finding::Field { place, what } => write!(formatter, "{place} {what}"),
            Finding::UnknownFile { step, path } => {
                write!(
                    formatter,
                    "steps[{step}] names the file {path:?}, which did not change; the name was dropped"
                )
            }
            Finding::UnknownHunk { step, hunk } => {
                write!(
                    formatter,
                    "steps[{step}] names the hunk {hunk:?}, which does not exist; it was dropped"
                )
            }
            Finding::LinesOutside { step, hunk } => {
                write!(
                    formatter,
                    "steps[{step}] names lines that the hunk {hunk} does not have; the whole hunk is shown"
                )
            }
            Finding::InventedSnippet { step, begins } => {
                write!(
                    formatter,
                    "steps[{step}] quotes what is not in the diff, beginning {begins:?}; it was dropped"
                )
            }
            Finding::EmptySnippet { step } => {
                write!(formatter, "steps[{step}] has a quotation too short to show anything; it was dropped")
            }
            Finding::Repaired { step } => {
                write!(
                    formatter,
                    "steps[{step}] has no evidence that holds; some was put in from the files that it names"
                )
            }
            Finding::Unsupported { step } => {
                write!(formatter, "steps[{step}] has no evidence that holds, and names no changed file")
            }
            Finding::Duplicate { step, of } => {
                write!(formatter, "steps[{step}] repeats steps[{of}]; it was left out")
            }
            Finding::Blank { step } => write!(formatter, "steps[{step}] says nothing; it was left out"),
            Finding::TooLong { place } => write!(formatter, "{place} is too long and was cut"),
            Finding::NoSummary => {
                write!(formatter, "executive_summary is missing; the counts stand in its place")
            }
            Finding::Provider { what } => formatter.write_str(what),
        }
    }
}
