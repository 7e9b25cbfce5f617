//! Finds the tutorial in whatever a writer answered, and reads as much of it as there is.
//!
//! Invariants: reading never fails as a whole because of one part; a step that was cut off is left out, a whole one is
//! kept; the work is bounded by the length of the text.

mod json;
mod shape;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::answer::Answer;
use crate::check::excerpt;
use crate::finding::Finding;

use json::{Reading, Value};

/// How much of an answer is read.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How often the text may be read in all: each brace in prose begins anew, and an attack has many.
const PASSES_MAX: usize = 16;
/// How deep JSON may stand in strings of JSON, as some programs wrap an answer.
const WRAPPINGS_MAX: usize = 3;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The answer; `None` when the text holds no tutorial.
    pub answer: Option<Answer>,
    /// What was wrong with its form.
    pub findings: Vec<Finding>,
}

/// Reads an answer: the JSON of a tutorial, with anything around it.
pub fn read(bytes: &[u8]) -> Read {
    let mut findings = Vec::new();
    let mut mend = |what: &str| findings.push(Finding::Mended { what: what.to_owned() });
    let kept = &bytes[..bytes.len().min(ANSWER_BYTES_MAX)];
    if kept.len() < bytes.len() {
        mend("it was too long, and read up to the limit");
    }
    let text = String::from_utf8_lossy(kept);
    if matches!(text, Cow::Owned(_)) {
        mend("bytes that are not UTF-8 were replaced");
    }
    match find(&text, 0) {
        Some(found) => {
            if found.reading.is_mended {
                mend("it was not quite JSON");
            }
            let (answer, shape_findings) = shape::answer(&found.value);
            findings.extend(shape_findings);
            Read { answer: Some(answer), findings }
        }
        None => {
            findings.push(Finding::Unreadable { begins: excerpt(text.trim(), 200) });
            Read { answer: None, findings }
        }
    }
}

struct Found {
    value: Value,
    reading: Reading,
    steps: usize,
}

/// Finds the value that looks most like a tutorial: the one with most steps, of equal ones the last, because drafts and
/// repeated instructions come first.
fn find(text: &str, wrappings: usize) -> Option<Found> {
    let mut best: Option<Found> = None;
    let mut position = 0;
    let mut bytes_read = 0;
    while bytes_read <= text.len().saturating_mul(PASSES_MAX) {
        let Some(offset) = text[position..].find(['{', '[']) else { break };
        let start = position + offset;
        let (value, reading) = json::read(&text[start..]);
        bytes_read += reading.bytes;
        let Some(value) = value else {
            position = start + 1;
            continue;
        };
        // A value that runs to the end of the text may be prose with a brace in it: what it swallowed is looked at too.
        let is_whole = value.is_complete();
        let end = start + reading.bytes.max(1);
        let found = pick(value, reading, wrappings);
        let is_found = found.is_some();
        if let Some(found) = found
            && best.as_ref().is_none_or(|best| found.steps >= best.steps)
        {
            best = Some(found);
        }
        position = if is_whole || is_found { end } else { start + 1 };
    }
    best
}

/// Finds the tutorial within a value: itself, a part of it, or a string of it that holds one.
fn pick(value: Value, reading: Reading, wrappings: usize) -> Option<Found> {
    if let Some(steps) = shape::count_steps(&value) {
        return Some(Found { value, reading, steps });
    }
    let children = match value {
        Value::List { items, .. } => items,
        Value::Object { entries, .. } => entries.into_iter().map(|(_, value)| value).collect(),
        Value::Text { text, .. } if wrappings < WRAPPINGS_MAX && text.contains('{') => {
            return find(&text, wrappings + 1);
        }
        Value::Text { .. } | Value::Other(_) => return None,
    };
    let found = children.into_iter().filter_map(|child| pick(child, reading, wrappings));
    found.max_by_key(|found| found.steps)
}
