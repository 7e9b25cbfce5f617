//! Reads JUnit reports, which the tested code wrote: hostile input.
//!
//! Invariants: work and memory are bounded by the limits below, whatever the report holds; no entity but the five of XML
//! itself is expanded; a report is only ever shown, never a verdict.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use serde::{Deserialize, Serialize};

use crate::escapes::{plain_line, plain_text};

/// The largest report that is read, in bytes.
pub const JUNIT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most failed tests that are kept of one report; all are counted.
pub const FAILURES_MAX: usize = 1000;
/// The most bytes that are kept of what a test said.
pub const DETAILS_BYTES_MAX: usize = 8 * 1024;
/// The most bytes that are kept of a name or a message.
const NAME_BYTES_MAX: usize = 1024;
/// Reports nest suites, but not like this.
const DEPTH_MAX: usize = 64;

/// What a report says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JunitReport {
    /// How many tests it lists.
    pub tests: u64,
    /// How many of them did not pass: failures and errors.
    pub failed: u64,
    /// How many of them were skipped.
    pub skipped: u64,
    /// The first [`FAILURES_MAX`] that did not pass, in the report's order.
    pub failures: Vec<FailedTest>,
    /// Why the rest of the report was not read, such as its missing end. What was read before counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

/// One test that did not pass. Its texts are plain: free of escape sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTest {
    /// Its class, or the suite that it is in.
    pub suite: String,
    /// Its name.
    pub name: String,
    /// Where it is, as the report says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where in the file it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What went wrong, in one line.
    pub message: String,
    /// What else the report says about it, cut to [`DETAILS_BYTES_MAX`].
    pub details: String,
}

/// Why a report could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum JunitError {
    /// Larger than any report that a person would look at.
    #[error("the report has {bytes} bytes; at most {JUNIT_BYTES_MAX} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Neither a test nor a suite was found.
    #[error("this is no JUnit report: it holds no <testsuite> and no <testcase>")]
    NotJunit {
        /// What the parser says, when it could not read on.
        #[source]
        source: Option<quick_xml::Error>,
    },
}

/// Reads a report as far as it can be read. A byte that is not UTF-8 reads as U+FFFD.
pub fn parse_junit(bytes: &[u8]) -> Result<JunitReport, JunitError> {
    if bytes.len() > JUNIT_BYTES_MAX {
        return Err(JunitError::TooLarge { bytes: bytes.len() });
    }
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader::from_str(&text);
    reader.config_mut().allow_dangling_amp = true;
    let mut state = State::default();
    let stopped = loop {
        match reader.read_event() {
            Ok(Event::Eof) if state.depth > 0 => break Some((None, "it ends in the middle".to_owned())),
            Ok(Event::Eof) => break None,
            Ok(event) => state.take(event),
            Err(error) => {
                let reason = format!("byte {}: {error}", reader.error_position());
                break Some((Some(error), reason));
            }
        }
        if state.depth > DEPTH_MAX {
            break Some((None, format!("it nests deeper than {DEPTH_MAX} elements")));
        }
    };
    // A test whose element has no end is part of what was read.
    state.close_test();
    if !state.is_junit {
        return Err(JunitError::NotJunit { source: stopped.and_then(|(error, _)| error) });
    }
    state.report.incomplete = stopped.map(|(_, reason)| reason);
    Ok(state.report)
}

/// What is known while a report is read from front to back.
#[derive(Default)]
struct State {
    report: JunitReport,
    is_junit: bool,
    depth: usize,
    /// Name and file of the suites around the current place.
    suites: Vec<Suite>,
    test: Option<Test>,
    /// How deep the element is whose text is being kept.
    details_depth: Option<usize>,
}

struct Suite {
    depth: usize,
    name: String,
    file: Option<String>,
}

struct Test {
    test: FailedTest,
    is_failed: bool,
    is_skipped: bool,
}

impl State {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(element) => {
                self.depth += 1;
                self.open(&element);
            }
            Event::Empty(element) => {
                self.depth += 1;
                self.open(&element);
                self.close();
            }
            Event::End(_) => self.close(),
            Event::Text(text) => self.add_text(&text.xml10_content()),
            Event::CData(text) => self.add_text(&text.xml10_content()),
            Event::GeneralRef(reference) => self.add_reference(&reference),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Eof => {}
        }
    }

    fn open(&mut self, element: &BytesStart<'_>) {
        match element.local_name().as_ref() {
            "testsuites" => self.is_junit = true,
            "testsuite" => {
                self.is_junit = true;
                let suite = Suite {
                    depth: self.depth,
                    name: attribute(element, "name").unwrap_or_default(),
                    file: attribute(element, "file"),
                };
                self.suites.push(suite);
            }
            "testcase" => {
                self.is_junit = true;
                self.close_test();
                self.open_test(element);
            }
            "failure" | "error" => self.open_failure(element),
            "skipped" => {
                if let Some(test) = &mut self.test {
                    test.is_skipped = true;
                }
            }
            _ => {}
        }
    }

    fn open_test(&mut self, element: &BytesStart<'_>) {
        let suite = self.suites.last();
        let class = attribute(element, "classname").filter(|class| !class.is_empty());
        let test = FailedTest {
            suite: class.or_else(|| suite.map(|suite| suite.name.clone())).unwrap_or_default(),
            name: attribute(element, "name").unwrap_or_default(),
            file: attribute(element, "file").or_else(|| suite.and_then(|suite| suite.file.clone())),
            line: attribute(element, "line").and_then(|line| line.parse().ok()),
            message: String::new(),
            details: String::new(),
        };
        self.test = Some(Test { test, is_failed: false, is_skipped: false });
    }

    fn open_failure(&mut self, element: &BytesStart<'_>) {
        // The first one counts: what follows it is often the clean-up's.
        let Some(test) = self.test.as_mut().filter(|test| !test.is_failed) else { return };
        test.is_failed = true;
        let message = attribute(element, "message").filter(|message| !message.trim().is_empty());
        test.test.message = message.or_else(|| attribute(element, "type")).unwrap_or_default();
        self.details_depth = Some(self.depth);
    }

    fn close(&mut self) {
        if self.details_depth == Some(self.depth) {
            self.details_depth = None;
        }
        if self.suites.last().is_some_and(|suite| suite.depth == self.depth) {
            self.close_test();
            self.suites.pop();
        }
        self.depth = self.depth.saturating_sub(1);
    }

    /// Counts the current test, if there is one.
    fn close_test(&mut self) {
        let Some(Test { mut test, is_failed, is_skipped }) = self.test.take() else { return };
        self.details_depth = None;
        self.report.tests += 1;
        self.report.skipped += u64::from(is_skipped && !is_failed);
        self.report.failed += u64::from(is_failed);
        if !is_failed || self.report.failures.len() >= FAILURES_MAX {
            return;
        }
        test.details = plain_text(test.details.trim_matches(['\n', '\r']).trim_end());
        let first_line = |text: &str| text.lines().map(plain_line).find(|line| !line.trim().is_empty());
        let message = first_line(&test.message).or_else(|| first_line(&test.details)).unwrap_or_default();
        test.message = message.trim().to_owned();
        self.report.failures.push(test);
    }

    fn add_text(&mut self, text: &str) {
        let (Some(test), Some(_)) = (&mut self.test, self.details_depth) else { return };
        let details = &mut test.test.details;
        let rest = DETAILS_BYTES_MAX.saturating_sub(details.len());
        details.push_str(cut(text, rest));
    }

    fn add_reference(&mut self, reference: &BytesRef<'_>) {
        if let Ok(Some(character)) = reference.resolve_char_ref() {
            self.add_text(character.encode_utf8(&mut [0; 4]));
            return;
        }
        let name = reference.xml10_content();
        match resolve_xml_entity(&name) {
            Some(text) => self.add_text(text),
            // Declared by the report itself, perhaps; shown as it is written.
            None => self.add_text(&format!("&{};", cut(&name, NAME_BYTES_MAX))),
        }
    }
}

/// Finds an attribute's value, plain and cut.
fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    // Without checks: looking for doubles takes quadratic time, and a hostile report has many.
    let mut attributes = element.attributes();
    let found = attributes.with_checks(false).flatten().find(|it| it.key.as_ref() == name)?;
    let raw = cut(&found.value, 4 * NAME_BYTES_MAX);
    let value = found
        .normalized_value(XmlVersion::default())
        .map_or_else(|_| raw.to_owned(), std::borrow::Cow::into_owned);
    let plain = plain_text(cut(&value, NAME_BYTES_MAX));
    Some(plain.trim().to_owned())
}

/// The longest beginning of a text that has at most so many bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
