//! Holds the descriptions in `docs/formats` against the code: every example in them is read.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::event::{Event, fold};
use crate::guest::GuestResult;
use crate::manifest::Manifest;
use crate::record::{PlanRecord, PreparedOutputsRecord, RunRecord, RunStatus};

/// The fenced examples of a description that are written in a language.
fn examples(description: &'static str, language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    description.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// Reads an example and writes it again: what it shows is what the code knows.
fn reads_whole<T: DeserializeOwned + serde::Serialize>(example: &str) -> T {
    let shown: Value = serde_json::from_str(example).unwrap();
    let read: T = serde_json::from_value(shown.clone()).unwrap();
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(written, shown, "an example shows keys that the code does not write, or hides some");
    read
}

#[test]
fn the_manifests_are_manifests() {
    let mut examples = self::examples(include_str!("../../../docs/formats/manifest.md"), "toml");
    examples.extend(self::examples(include_str!("../../../docs/formats/prepared.md"), "toml"));
    examples.extend(self::examples(include_str!("../../../docs/formats/secrets.md"), "toml"));
    assert_eq!(examples.len(), 6);
    for example in examples {
        if let Err(error) = Manifest::parse(example) {
            panic!("{example}\n{error}");
        }
    }
}

#[test]
fn the_events_are_those_of_a_run() {
    let examples = examples(include_str!("../../../docs/formats/events.md"), "jsonl");
    let [example] = examples.as_slice() else { panic!("{} examples", examples.len()) };
    let events: Vec<Event> = example.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!events.contains(&Event::Unknown));
    assert_eq!(fold(&events).unwrap().status, RunStatus::Failed);
}

#[test]
fn the_records_are_records() {
    let examples = examples(include_str!("../../../docs/formats/state-root.md"), "json");
    let [run, plan, result, prepared] = examples.as_slice() else { panic!("{} examples", examples.len()) };
    let run: RunRecord = reads_whole(run);
    let plan: PlanRecord = reads_whole(plan);
    assert_eq!(run.run_id, plan.run_id);
    reads_whole::<GuestResult>(result);
    reads_whole::<PreparedOutputsRecord>(prepared);
}
