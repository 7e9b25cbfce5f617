//! Understands a JSON value as an answer: other names, other kinds, missing parts.

use crate::answer::{Answer, ClaimedEvidence, ClaimedStep};
use crate::finding::Finding;

use super::json::Value;

const SUMMARY: &[&str] = &["executivesummary", "summary", "overview"];
const STEPS: &[&str] = &["steps", "tutorialsteps", "sections"];
const TITLE: &[&str] = &["title", "name", "heading"];
const INTENT: &[&str] = &["intent", "purpose", "why", "goal"];
const FILES: &[&str] = &["affectedfiles", "files", "file", "paths"];
const EVIDENCE: &[&str] = &["evidence", "hunks", "evidencehunks"];
const SNIPPETS: &[&str] = &["evidencesnippets", "snippets", "quotes"];
const BODY: &[&str] = &["bodymarkdown", "body", "explanation", "description", "details", "markdown"];
const HUNK: &[&str] = &["hunk", "hunkid", "id"];
const LINES: &[&str] = &["lines", "linerange", "range", "line"];
const PATH: &[&str] = &["path", "file", "filename"];
const QUOTE: &[&str] = &["text", "snippet", "quote", "code", "content"];

/// How many places of one step are read.
const EVIDENCE_MAX: usize = 1_000;

/// Says how many steps a value has, when it is a tutorial at all.
pub(super) fn count_steps(value: &Value) -> Option<usize> {
    match value {
        Value::Object { .. } => {
            let steps = field(value, STEPS);
            let has_summary =
                field(value, SUMMARY).is_some_and(|summary| matches!(summary, Value::Text { .. }));
            match steps {
                Some(steps) => Some(items(steps).iter().filter(|item| is_step(item)).count()),
                None if has_summary && field(value, TITLE).is_none() => Some(0),
                None => None,
            }
        }
        // Some leave out what is around the steps.
        Value::List { items, .. } if !items.is_empty() && items.iter().all(is_step) => Some(items.len()),
        Value::List { .. } | Value::Text { .. } | Value::Other(_) => None,
    }
}

fn is_step(value: &Value) -> bool {
    let is_text = |names| field(value, names).is_some_and(|found| matches!(found, Value::Text { .. }));
    is_text(TITLE) && (is_text(BODY) || is_text(INTENT)) || is_text(INTENT) && is_text(BODY)
}

/// Reads a value that [`count_steps`] knows.
pub(super) fn answer(value: &Value) -> (Answer, Vec<Finding>) {
    let mut shape = Shape { findings: Vec::new() };
    let mut is_truncated = !value.is_complete();
    let steps = if matches!(value, Value::List { .. }) { Some(value) } else { field(value, STEPS) };
    let executive_summary = match field(value, SUMMARY) {
        Some(summary) => {
            is_truncated |= !summary.is_complete();
            shape.text("executive_summary", Some(summary))
        }
        None => String::new(),
    };
    let mut claimed = Vec::new();
    match steps {
        Some(Value::Text { .. } | Value::Other(_)) => shape.report("steps", "is no list"),
        Some(steps) => {
            for (index, item) in items(steps).into_iter().enumerate() {
                if item.is_complete() {
                    claimed.push(shape.step(index, item));
                } else {
                    is_truncated = true;
                }
            }
        }
        None if !is_truncated => shape.report("steps", "is missing"),
        None => {}
    }
    if is_truncated {
        shape.findings.push(Finding::Truncated { complete_steps: claimed.len() });
    }
    (Answer { executive_summary, steps: claimed }, shape.findings)
}

/// Finds a field by any of its names; case and underscores don't matter.
fn field<'a>(value: &'a Value, names: &[&str]) -> Option<&'a Value> {
    let Value::Object { entries, .. } = value else { return None };
    let normal = |key: &str| -> String {
        key.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    names.iter().find_map(|name| entries.iter().find(|(key, _)| normal(key) == *name).map(|(_, value)| value))
}

/// The items of a list, the values of an object of numbered items, or the one item that should have been in a list.
fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::List { items, .. } => items.iter().collect(),
        Value::Object { entries, .. } if !is_step(value) && entries.iter().any(|(_, item)| is_step(item)) => {
            entries.iter().map(|(_, item)| item).filter(|item| is_step(item)).collect()
        }
        Value::Object { .. } | Value::Text { .. } | Value::Other(_) => vec![value],
    }
}

struct Shape {
    findings: Vec<Finding>,
}

impl Shape {
    fn report(&mut self, place: &str, what: &'static str) {
        self.findings.push(Finding::Field { place: place.to_owned(), what });
    }

    fn step(&mut self, index: usize, value: &Value) -> ClaimedStep {
        let place = |name: &str| format!("steps[{index}].{name}");
        if !matches!(value, Value::Object { .. }) {
            self.report(&format!("steps[{index}]"), "is no object");
            return ClaimedStep::default();
        }
        let mut text = |name: &str, names| {
            let found = field(value, names);
            if found.is_none() {
                self.report(&place(name), "is missing");
            }
            self.text(&place(name), found)
        };
        let title = text("title", TITLE);
        let intent = text("intent", INTENT);
        let body_markdown = text("body_markdown", BODY);
        let mut affected_files = Vec::new();
        for item in field(value, FILES).map(items).unwrap_or_default() {
            match item {
                Value::Text { text, .. } => {
                    affected_files.extend(text.lines().map(|line| line.trim().to_owned()));
                }
                Value::Object { .. } => {
                    let path = self.text(&place("affected_files"), field(item, PATH));
                    affected_files.push(path);
                }
                Value::Other(word) if is_null(word) => {}
                Value::List { .. } | Value::Other(_) => {
                    self.report(&place("affected_files"), "has an item that is no path");
                }
            }
        }
        let mut evidence = Vec::new();
        for names in [EVIDENCE, SNIPPETS] {
            for item in field(value, names).map(items).unwrap_or_default().into_iter().take(EVIDENCE_MAX) {
                self.evidence(&place("evidence"), item, &mut evidence);
            }
        }
        ClaimedStep { title, intent, affected_files, evidence, body_markdown }
    }

    fn evidence(&mut self, place: &str, item: &Value, evidence: &mut Vec<ClaimedEvidence>) {
        match item {
            Value::Text { text, .. } => evidence.push(text_evidence(text, None)),
            Value::Other(word) if is_null(word) => {}
            Value::Other(_) | Value::List { .. } => self.report(place, "has an item that is no evidence"),
            Value::Object { .. } => {
                let text = |names| match field(item, names) {
                    Some(Value::Text { text, .. }) => Some(text.clone()),
                    _ => None,
                };
                let path = text(PATH);
                let lines = field(item, LINES).and_then(read_lines).or_else(|| start_and_end(item));
                let (hunk, quoted) = (text(HUNK), text(QUOTE));
                if hunk.is_none() && quoted.is_none() {
                    self.report(place, "names no hunk and quotes nothing");
                }
                if let Some(quoted) = &quoted {
                    evidence.push(text_evidence(quoted, path.clone()));
                }
                if let Some(hunk) = hunk {
                    match text_evidence(&hunk, path.clone()) {
                        ClaimedEvidence::Reference { hunk, lines: own, path } => {
                            // With a quotation beside it, a hunk without lines adds nothing to show.
                            if quoted.is_none() || lines.or(own).is_some() {
                                evidence.push(ClaimedEvidence::Reference {
                                    hunk,
                                    lines: lines.or(own),
                                    path,
                                });
                            }
                        }
                        ClaimedEvidence::Quote { .. } => {
                            evidence.push(ClaimedEvidence::Reference { hunk, lines, path });
                        }
                    }
                }
            }
        }
    }

    /// Reads a text, from what should be one.
    fn text(&mut self, place: &str, value: Option<&Value>) -> String {
        match value {
            None => String::new(),
            Some(Value::Text { text, is_complete: true }) => text.clone(),
            Some(Value::Text { text, .. }) => format!("{}…", text.trim_end()),
            Some(Value::Other(word)) if matches!(word.as_str(), "null" | "None" | "undefined") => {
                String::new()
            }
            Some(Value::Other(word)) => {
                self.report(place, "is no text");
                word.clone()
            }
            Some(Value::List { items, .. }) => {
                self.report(place, "is a list instead of a text");
                let texts = items.iter().filter_map(|item| match item {
                    Value::Text { text, .. } => Some(text.as_str()),
                    Value::List { .. } | Value::Object { .. } | Value::Other(_) => None,
                });
                texts.collect::<Vec<_>>().join("\n\n")
            }
            Some(Value::Object { .. }) => {
                self.report(place, "is no text");
                String::new()
            }
        }
    }
}

fn is_null(word: &str) -> bool {
    matches!(word, "null" | "None" | "undefined" | "nil")
}

/// A text in the place of evidence: a hunk's id, perhaps with lines, or a quotation.
fn text_evidence(text: &str, path: Option<String>) -> ClaimedEvidence {
    let bare = text.trim().trim_matches(['`', '[', ']', '#']);
    let (word, rest) = bare.split_once([':', ' ', '#']).unwrap_or((bare, ""));
    if is_hunk_id(word) && !rest.contains('\n') {
        return ClaimedEvidence::Reference { hunk: word.to_owned(), lines: parse_lines(rest), path };
    }
    ClaimedEvidence::Quote { text: text.to_owned(), path }
}

/// Whether a word looks as the ids of hunks do.
fn is_hunk_id(word: &str) -> bool {
    let Some(digits) = word.strip_prefix('h') else { return false };
    let (hex, number) = digits.split_once('-').unwrap_or((digits, "1"));
    hex.len() == 8
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn read_lines(value: &Value) -> Option<(u64, u64)> {
    match value {
        Value::Text { text, .. } | Value::Other(text) => parse_lines(text),
        Value::List { items, .. } => {
            let numbers: Vec<u64> = items.iter().filter_map(|item| Some(read_lines(item)?.0)).collect();
            Some((*numbers.iter().min()?, *numbers.iter().max()?))
        }
        Value::Object { .. } => start_and_end(value),
    }
}

fn start_and_end(value: &Value) -> Option<(u64, u64)> {
    let number = |names| field(value, names).and_then(read_lines).map(|(first, _)| first);
    let first = number(&["start", "first", "from", "startline", "linestart"])?;
    let last = number(&["end", "last", "to", "endline", "lineend"]).unwrap_or(first);
    Some((first, last))
}

/// Reads the first two numbers of a text such as `3-7`, `L3..L7`, `lines 3 to 7`, or the only one.
fn parse_lines(text: &str) -> Option<(u64, u64)> {
    let mut numbers =
        text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let first = numbers.next()?;
    Some((first, numbers.next().unwrap_or(first)))
}
