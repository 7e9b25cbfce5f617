//! Tests of the reader on what models write.

use proptest::prelude::*;

use super::*;
use crate::answer::{ClaimedEvidence, ClaimedStep};

const GOOD: &str = r#"{
  "executive_summary": "It \"keeps\" state. \u00e4\ud83d\ude00",
  "steps": [
    {
      "title": "First",
      "intent": "To begin",
      "affected_files": ["a.rs", "b.rs"],
      "evidence": [{"hunk": "h1234abcd", "lines": [3, 7]}, {"hunk": "h1234abce"}],
      "evidence_snippets": ["+    one();\n-    two();"],
      "body_markdown": "One.\n\nTwo."
    },
    {
      "title": "Second",
      "intent": "To end",
      "affected_files": [],
      "evidence": [],
      "body_markdown": "Three."
    }
  ]
}"#;

fn good() -> Answer {
    let reference = |hunk: &str, lines| ClaimedEvidence::Reference { hunk: hunk.into(), lines, path: None };
    Answer {
        executive_summary: "It \"keeps\" state. ä😀".into(),
        steps: vec![
            ClaimedStep {
                title: "First".into(),
                intent: "To begin".into(),
                affected_files: vec!["a.rs".into(), "b.rs".into()],
                evidence: vec![
                    reference("h1234abcd", Some((3, 7))),
                    reference("h1234abce", None),
                    ClaimedEvidence::Quote { text: "+    one();\n-    two();".into(), path: None },
                ],
                body_markdown: "One.\n\nTwo.".into(),
            },
            ClaimedStep {
                title: "Second".into(),
                intent: "To end".into(),
                affected_files: Vec::new(),
                evidence: Vec::new(),
                body_markdown: "Three.".into(),
            },
        ],
    }
}

/// Reads a text that must be understood as the good answer is.
#[track_caller]
fn reads_as_good(text: &str) -> Vec<Finding> {
    let read = read(text.as_bytes());
    assert_eq!(read.answer.as_ref(), Some(&good()), "{:?}", read.findings);
    read.findings
}

#[test]
fn json_is_read_as_what_it_is() {
    assert_eq!(reads_as_good(GOOD), []);
    let value: serde_json::Value = serde_json::from_str(GOOD).unwrap();
    assert_eq!(reads_as_good(&value.to_string()), []);
}

#[test]
fn what_stands_around_the_json_is_skipped() {
    assert_eq!(
        reads_as_good(&format!("Here is {{the}} tutorial [1]:\n```json\n{GOOD}\n```\nDone. {{}}")),
        []
    );
    assert_eq!(reads_as_good(&format!("<think>A draft: {{\"steps\": []}}</think>\n{GOOD}")), []);
    assert_eq!(reads_as_good(&format!("fn main() {{ let x = [1, 2]; }}\n{GOOD}")), []);
    assert_eq!(reads_as_good(&format!("\u{feff}{GOOD}")), []);
}

#[test]
fn an_answer_that_a_program_wrapped_is_unwrapped() {
    let text = serde_json::Value::from(GOOD).to_string();
    assert_eq!(reads_as_good(&format!("{{\"tutorial\": {GOOD}}}")), []);
    assert_eq!(reads_as_good(&format!("{{\"type\": \"result\", \"cost\": 0.1, \"result\": {text}}}")), []);
    assert_eq!(reads_as_good(&format!("{{\"choices\": [{{\"message\": {{\"content\": {text}}}}}]}}")), []);
}

#[test]
fn what_is_not_quite_json_is_mended() {
    for text in [
        GOOD.replace("]\n}", "],\n}").replace("\"Three.\"", "\"Three.\",,"),
        GOOD.replace("\"title\": \"First\",", "\"title\": \"First\""),
        GOOD.replace("},\n    {\n      \"title\": \"Second\"", "}\n    {\n      \"title\": \"Second\""),
        GOOD.replace("\"title\"", "title").replace("\"steps\"", "'steps'"),
        GOOD.replace("One.\\n\\nTwo.", "One.\n\nTwo."),
        GOOD.replace("\"steps\": [", "// what follows\n\"steps\": /* all */ ["),
        GOOD.replace("It \\\"keeps\\\" state", "It \"keeps\" state"),
        GOOD.replace("\"affected_files\": [],", "\"affected_files\": None,"),
        GOOD.replace("\"Three.\"\n    }\n  ]\n}", "\"Three.\"\n  ]\n}"),
    ] {
        assert_ne!(text, GOOD);
        let findings = reads_as_good(&text);
        assert_eq!(findings, [Finding::Mended { what: "it was not quite JSON".into() }], "{text}");
    }
}

#[test]
fn other_names_and_kinds_are_understood() {
    let text = r#"{"Summary": "s", "steps": {"1": {
        "Title": "t", "purpose": "i", "files": "a.rs\nb.rs", "body": ["x", "y"],
        "evidence": ["h1234abcd:3-7", "`h1234abce`", {"hunk_id": "h1234abcd-2", "range": "L3..L7"},
            {"id": "h1234abcd", "start": 1, "end": 2}, {"file": "a.rs", "code": "+x"}, null, 3]
    }}}"#;
    let read = read(text.as_bytes());
    let step = &read.answer.unwrap().steps[0];
    assert_eq!((step.title.as_str(), step.intent.as_str()), ("t", "i"));
    assert_eq!(step.body_markdown, "x\n\ny");
    assert_eq!(step.affected_files, ["a.rs", "b.rs"]);
    let reference = |hunk: &str, lines| ClaimedEvidence::Reference { hunk: hunk.into(), lines, path: None };
    assert_eq!(
        step.evidence,
        [
            reference("h1234abcd", Some((3, 7))),
            reference("h1234abce", None),
            reference("h1234abcd-2", Some((3, 7))),
            reference("h1234abcd", Some((1, 2))),
            ClaimedEvidence::Quote { text: "+x".into(), path: Some("a.rs".into()) },
        ]
    );
    assert_eq!(read.findings.len(), 2, "{:?}", read.findings);
}

#[test]
fn what_is_missing_is_named_and_costs_nothing_else() {
    let text = GOOD.replace("\"title\": \"First\",", "").replace("\"intent\": \"To end\"", "\"intent\": 7");
    let read = read(text.as_bytes());
    let steps = read.answer.unwrap().steps;
    assert_eq!((steps[0].title.as_str(), steps[0].intent.as_str()), ("", "To begin"));
    assert_eq!(steps[1].intent, "7");
    let places: Vec<String> = read.findings.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["steps[0].title is missing", "steps[1].intent is no text"]);
}

#[test]
fn an_answer_that_ends_in_the_middle_keeps_its_complete_steps() {
    let second = GOOD.find("Second").unwrap();
    for end in [second, second + 40, GOOD.rfind('}').unwrap() - 6] {
        let read = read(&GOOD.as_bytes()[..end]);
        assert_eq!(read.answer.unwrap().steps, good().steps[..1]);
        assert_eq!(read.findings, [Finding::Truncated { complete_steps: 1 }]);
    }
    let read = read(&GOOD.as_bytes()[..50]);
    assert_eq!(read.answer.unwrap().executive_summary, "It \"keeps\" state.…");
}

#[test]
fn a_text_without_a_tutorial_is_said_to_be_one() {
    for text in [
        "",
        "I cannot help with that.",
        "{}",
        "[]",
        "{\"error\": \"overloaded\"}",
        "[1, 2, {\"title\": \"x\"}]",
    ] {
        let read = read(text.as_bytes());
        assert_eq!(read.answer, None, "{text}");
        assert!(matches!(read.findings[..], [Finding::Unreadable { .. }]));
    }
}

#[test]
fn invalid_utf_8_is_replaced_and_said() {
    let mut bytes = GOOD.as_bytes().to_vec();
    let place = GOOD.find("begin").unwrap();
    bytes[place] = 0xff;
    let read = read(&bytes);
    assert_eq!(read.answer.unwrap().steps[0].intent, "To \u{fffd}egin");
    assert!(matches!(read.findings[..], [Finding::Mended { .. }]));
}

#[test]
fn hostile_nesting_and_repetition_end_in_time() {
    for text in [
        "[".repeat(1 << 13),
        "{\"a\":".repeat(1 << 12),
        "{\"".repeat(1 << 13),
        "[{\"steps\":".repeat(1 << 12),
    ] {
        let _ = read(text.as_bytes());
    }
}

proptest! {
    #[test]
    fn any_value_that_serde_writes_is_read_without_mending(text in ".*", list in prop::collection::vec(".*", 0..4)) {
        let written = serde_json::json!({"executive_summary": text, "steps": [], "more": list}).to_string();
        let read = read(written.as_bytes());
        prop_assert_eq!(read.findings, []);
        prop_assert_eq!(read.answer.unwrap().executive_summary, text);
    }

    #[test]
    fn no_bytes_make_the_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn a_damaged_answer_never_holds_more_steps_than_were_written(
        place in 0..GOOD.len(), byte in any::<u8>(), end in 0..GOOD.len(),
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[place] = byte;
        bytes.truncate(end);
        let steps = read(&bytes).answer.unwrap_or_default().steps;
        let said = steps.iter().filter(|step| !step.title.is_empty() || !step.body_markdown.is_empty());
        prop_assert!(said.count() <= 2);
    }
}
